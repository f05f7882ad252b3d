"""Softmax results, followed to the products in which they weigh values.

A result is followed by its storage, which is not kept alive, and by the strides of its axes (see :mod:`.strides`), so
that transposing, reshaping and copying it changes nothing about which axis holds queries and which keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.strides import Axes, Axis, Digit

#: Entries after which those whose storage is gone are dropped.
_CROWDED = 256


@dataclass(frozen=True)
class _Followed:
    storage: StorageWeakRef
    axes: Axes
    softmax: int
    over_last_axis: bool
    #: What dropout, which changes the numbers in training, was given: an array in the same places of its storage.
    before_dropout: Tensor | None = None
    dropped: bool = False


@dataclass
class SoftmaxTracker:
    """What became of the softmax results of one forward.

    Attributes:
        weighed: numbers of the softmax results that weighed values.
        where: by number, the path of the module in which each softmax ran.
        unshown: paths where a softmax result weighed values in a form that is not ``[query, key]``.
        of_products: numbers of the softmaxes whose scores were products of two activations, as those of attention are.
        by_hand: paths where a part of a softmax of such products ran by itself.
        activations_met: whether any product of two activations ran, without which there is no attention.
    """

    parameters: Iterable[nn.Parameter]
    weighed: set[int] = field(default_factory=set)
    where: dict[int, str] = field(default_factory=dict)
    unshown: dict[str, None] = field(default_factory=dict)
    of_products: set[int] = field(default_factory=set)
    by_hand: dict[str, None] = field(default_factory=dict)
    activations_met: bool = False
    _followed: dict[int, _Followed] = field(default_factory=dict)
    _scores: dict[int, StorageWeakRef] = field(default_factory=dict)
    _constant: dict[int, StorageWeakRef | None] = field(default_factory=dict)
    _noise: dict[int, StorageWeakRef] = field(default_factory=dict)
    _crowded: int = _CROWDED
    _numbers: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self._constant = {key: None for parameter in self.parameters if (key := storage_key(parameter)) is not None}

    @property
    def unused(self) -> dict[str, None]:
        """Paths of the modules in which a softmax ran whose result weighed nothing that was seen."""
        return {path: None for number, path in self.where.items() if number not in self.weighed}

    @property
    def missed(self) -> dict[str, None]:
        """Paths of the modules that computed attention, but whose weights were not seen to weigh any values."""
        unseen = self.of_products - self.weighed
        return self.by_hand | {path: None for number, path in self.where.items() if number in unseen}

    def softmax(self, scores: Tensor, result: Tensor, axis: int, path: str) -> None:
        """A softmax ran. One of a matrix is followed only if it is of products: most are a classifier's or router's."""
        key, are_products = storage_key(result), _alive(self._scores, storage_key(scores))
        if key is None or result.dim() < 2 or (result.dim() == 2 and not are_products):
            return
        number = next(self._numbers)
        self.where[number] = path
        if are_products:
            self.of_products.add(number)
        place = axis % result.dim()
        axes = Axes.of(result).last(place)
        ref = StorageWeakRef(result.untyped_storage())
        self._followed[key] = _Followed(ref, axes, number, place == result.dim() - 1)

    def written_out(self, scores: Tensor, path: str) -> None:
        """A part of a softmax ran (an exponential, a logarithm of one) whose result is not followed."""
        if scores.dim() > 2 and _alive(self._scores, storage_key(scores)):
            self.by_hand[path] = None

    def still_scores(self, result: Any, args: Sequence[Any]) -> None:
        """An operation ran through which scores stay scores, but weights do not stay weights."""
        key = storage_key(result)
        if key is not None and any(_alive(self._scores, storage_key(arg)) for arg in args):
            self._scores[key] = StorageWeakRef(result.untyped_storage())
            self._tidy()

    def drawn(self, noise: Tensor) -> None:
        """Random zeros and ones were drawn into an array, as dropout does."""
        key = storage_key(noise)
        if key is not None:
            self._noise[key] = StorageWeakRef(noise.untyped_storage())

    def dropout(self, given: Tensor, result: Tensor) -> None:
        """Dropout ran on what was followed, and its result is followed now."""
        key = storage_key(result)
        known = self._known(key)
        if key is None or known is None:
            return
        same_places = (given.stride(), given.storage_offset()) == (result.stride(), result.storage_offset())
        kept = given.detach() if same_places and not known.dropped else None
        self._followed[key] = replace(known, before_dropout=kept, dropped=True)

    def copied(self, result: Any, args: Sequence[Any]) -> None:
        """An operation ran through which weights stay weights, scores scores and constants constants."""
        key = storage_key(result)
        if key is None:
            return
        for arg in args:
            source = storage_key(arg)
            known = self._known(source)
            if known is not None:
                axes = _whole(known.axes, arg)
                moved = None if axes is None else axes.copied(arg, result)
                if moved is not None:
                    ref = StorageWeakRef(result.untyped_storage())
                    # A copy of what dropout has changed: the same places no longer hold the same weights.
                    self._followed[key] = replace(known, storage=ref, axes=moved, before_dropout=None)
                    if any(_alive(self._noise, storage_key(other)) for other in args):
                        self.dropout(arg, result)
                return
            if source != key and _alive(self._scores, source):
                self._scores[key] = StorageWeakRef(result.untyped_storage())
        arrays = [arg for arg in args if isinstance(arg, Tensor)]
        if arrays and all(_alive(self._constant, storage_key(array)) for array in arrays):  # a cast parameter
            self._constant.setdefault(key, StorageWeakRef(result.untyped_storage()))
        self._tidy()

    def product(self, left: Tensor, right: Tensor, result: Tensor, path: str) -> tuple[Tensor, Tensor] | None:
        """A product of two arrays ``[.., row, inner]`` and ``[.., inner, column]`` ran.

        Returns:
            The weights ``[.., query, key]`` and the values, if one array is a softmax result that weighs the other.

        Raises:
            UnsupportedModelError: values are multiplied with a part of a softmax result.
        """
        for weights, values, rows, inner in ((left, right, -2, -1), (right, left, -1, -2)):
            known = self._known(storage_key(weights))
            if known is None or _alive(self._constant, storage_key(values)):
                continue
            axes = _whole(known.axes, weights)
            mine, theirs = (None, None) if axes is None else axes.split_along(weights)
            if axes is None or mine is None or theirs is None:
                raise UnsupportedModelError(
                    f"{path or 'The model'} multiplies values with a part {tuple(weights.shape)} of attention weights "
                    f"{known.axes.shape}, which cannot be shown as [head, query, key]; this architecture is not "
                    "supported."
                )
            rows_of = set(theirs.axes[rows])
            if set(mine.axes[-1]) != set(theirs.axes[inner]):
                continue  # summed over another axis than the softmax was
            query = _query_axis(mine.axes, rows_of, known.over_last_axis)
            if query is None:
                continue  # a router, or values of each query's own
            if not known.over_last_axis and _count_within(mine.axes[:-1], rows_of) > 1:
                self.unshown[path] = None  # which of them is the query's is not told
                continue
            self.weighed.add(known.softmax)
            self._followed.pop(storage_key(weights) or 0)
            if known.dropped and known.before_dropout is None:
                raise UnsupportedModelError(
                    f"{path or 'The model'} is in training and changes its weights after dropout, where they cannot be "
                    "told from what dropout made of them; call model.eval() before, or set its dropout to 0."
                )
            found = axes.tensor(weights if known.before_dropout is None else known.before_dropout)
            ordered = [axis for number, axis in enumerate(mine.axes) if number != query]
            ordered = [*ordered[:-1], mine.axes[query], ordered[-1]]
            return _heads_together(found.movedim(query, -2), ordered, rows_of), values
        if not any(_alive(self._constant, storage_key(operand)) for operand in (left, right)):
            self.activations_met = True
            key = storage_key(result)
            if key is not None:
                self._scores[key] = StorageWeakRef(result.untyped_storage())
        return None

    def _known(self, key: int | None) -> _Followed | None:
        known = None if key is None else self._followed.get(key)
        return None if known is None or known.storage.expired() else known

    def _tidy(self) -> None:
        if len(self._followed) + len(self._scores) > self._crowded:
            self._followed = {key: one for key, one in self._followed.items() if not one.storage.expired()}
            self._scores = {key: ref for key, ref in self._scores.items() if not ref.expired()}
            self._crowded = _CROWDED + 2 * (len(self._followed) + len(self._scores))


def storage_key(tensor: Any) -> int | None:
    """What names a tensor's storage as long as a weak reference to it is held; None where there is no plain one."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_nested:
        return None
    return int(tensor.untyped_storage()._cdata)


def _alive(kind: dict[int, StorageWeakRef | None] | dict[int, StorageWeakRef], key: int | None) -> bool:
    if key is None or key not in kind:
        return False
    ref = kind[key]
    return ref is None or not ref.expired()


def _whole(axes: Axes, view: Tensor) -> Axes | None:
    """The axes that a view shows: all of them, or without the last key (a sink's column, which weighs no values)."""
    *outer, keys = axes.shape
    size = 1
    for each in outer:
        size *= each
    shown, rest = divmod(view.numel(), size)
    if shown == keys and not rest:
        return axes
    return axes.cut(shown) if not rest and shown == keys - 1 > 0 and len(axes.axes[-1]) == 1 else None


def _query_axis(axes: Sequence[Axis], rows: set[Digit], as_usual: bool) -> int | None:
    """The number of the query axis: the last of those that the values do not have.

    One of a single query cannot be told by that. It is where it usually is, next to the keys that stand last.
    """
    within = [number for number, axis in enumerate(axes[:-1]) if axis and set(axis) <= rows]
    if within:
        return within[-1]
    return len(axes) - 2 if as_usual and not axes[-2] and not rows else None


def _count_within(axes: Sequence[Axis], rows: set[Digit]) -> int:
    return sum(bool(axis) and set(axis) <= rows for axis in axes)


def _heads_together(weights: Tensor, axes: Sequence[Axis], rows: set[Digit]) -> Tensor:
    """Axes that the values do not have are query heads that share a key head: one axis of heads with it."""
    grouped = _count_within(axes[1:-2], rows) > 0
    return weights.flatten(1, -3) if weights.dim() > 4 and grouped else weights
