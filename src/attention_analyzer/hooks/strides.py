"""Which element of an array is which, seen through views, permutations and copies of it.

A model may transpose its attention weights, split and merge their axes and copy them before it multiplies values. What
the axes mean is known where the softmax runs: here that is carried along, by strides alone, without any element moved.

An axis is kept as its *digits*: sizes and strides, the slowest first, of which the axis is the mixed-radix number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from torch import Tensor

Digit = tuple[int, int]
Axis = tuple[Digit, ...]


@dataclass(frozen=True)
class Axes:
    """Axes of an array within a storage.

    Attributes:
        axes: the digits ``(size, stride)`` of each axis; an axis of one element has none.
        offset: where in the storage the first element is.
    """

    axes: tuple[Axis, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Axes:
        """The tensor's own axes."""
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        return cls(tuple(((size, stride),) if size > 1 else () for size, stride in sizes), int(tensor.storage_offset()))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(size for size, _ in axis) for axis in self.axes)

    def last(self, axis: int) -> Axes:
        """The same with one axis moved to the end."""
        rest = [digits for number, digits in enumerate(self.axes) if number != axis]
        return Axes((*rest, self.axes[axis]), self.offset)

    def cut(self, keys: int) -> Axes:
        """The same with only the first ``keys`` elements of the last axis, which must be one digit."""
        stride = self.axes[-1][-1][1]
        return Axes((*self.axes[:-1], ((keys, stride),) if keys > 1 else ()), self.offset)

    def copied(self, view: Tensor, copy: Tensor) -> Axes | None:
        """The axes in a copy of a view of the array; None where the view does not show the whole array."""
        mine, theirs = self.split_along(view)
        if theirs is None or copy.shape != view.shape:
            return None
        moved: dict[Digit, Digit] = {}
        for digits, stride in zip(theirs.axes, copy.stride(), strict=True):
            step = stride
            for digit in reversed(digits):
                moved[digit] = (digit[0], step)
                step *= digit[0]
        return Axes(tuple(tuple(moved[digit] for digit in axis) for axis in mine.axes), int(copy.storage_offset()))

    def split_along(self, view: Tensor) -> tuple[Axes, Axes | None]:
        """These axes and a view's, both in the digits that they have in common; None where they show other elements."""
        theirs = Axes.of(view)
        if theirs.offset != self.offset or prod(theirs.shape) != prod(self.shape):
            return self, None
        cuts = {bound for axes in (self, theirs) for axis in axes.axes for digit in axis for bound in _bounds(digit)}
        if 0 in cuts:  # expanded: several elements share a place
            return self, None
        mine, other = (_refined(axes, cuts) for axes in (self, theirs))
        if mine is None or other is None or _digits(mine) != _digits(other):
            return self, None
        return mine, other

    def tensor(self, storage_of: Tensor) -> Tensor:
        """The array ``[axis, …]`` in the storage of a tensor; a view where strides allow."""
        digits = [digit for axis in self.axes for digit in axis]
        flat = storage_of.as_strided([size for size, _ in digits], [stride for _, stride in digits], self.offset)
        return flat.reshape(self.shape)


def _bounds(digit: Digit) -> tuple[int, int]:
    return digit[1], digit[0] * digit[1]


def _refined(axes: Axes, cuts: Iterable[int]) -> Axes | None:
    ordered = sorted(cuts, reverse=True)
    result = []
    for axis in axes.axes:
        digits: list[Digit] = []
        for size, stride in axis:
            above = size * stride
            for cut in (*(cut for cut in ordered if stride < cut < above), stride):
                if above % cut or cut % stride:
                    return None
                digits.append((above // cut, cut))
                above = cut
        result.append(tuple(digits))
    return Axes(tuple(result), axes.offset)


def _digits(axes: Axes) -> list[Digit]:
    return sorted(digit for axis in axes.axes for digit in axis)
