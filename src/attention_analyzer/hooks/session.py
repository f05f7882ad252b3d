"""A capture: one forward listened to, its calls sorted into sites.

Two modes share one code path. *Recording* keeps queries and keys, so that anything may be asked afterwards;
*streaming* hands each call's weights to a function inside the forward and lets them go.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from attention_analyzer.errors import AttentionAnalyzerError
from attention_analyzer.grad_mode import without_grad
from attention_analyzer.hooks import doors
from attention_analyzer.hooks.calls import Sample, chunk_of, merge_chunks, read_call, verify
from attention_analyzer.hooks.dispatch_hook import AttentionDispatchMode, intercept
from attention_analyzer.hooks.dispatch_modes import NoModes
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite, declared_depths, number_layers
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.hooks.parts import Origin, Part, go_together, joined
from attention_analyzer.hooks.precomputed import check_heads_apart, dense_weights, heads_come_first
from attention_analyzer.hooks.sparse_layers import SPARSE
from attention_analyzer.hooks.windows import unfold_source, unfold_weights
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

Result = TypeVar("Result")


@dataclass
class Capture(Generic[Result]):
    """Listens to one forward, inside the library's attention interface and outside of it.

    Attributes:
        keep: turns a call's weights into what is kept of them, inside the forward.
        valid: bool ``[batch, query]`` for queries of the main text, to leave padding out of the check.
        check: whether each call's output is rebuilt and compared (see :func:`verify`).
        batch: texts or images in the forward; more rows than that are windows, frames or crops of them.
        sequences: shapes, without channels, of the sequences that the forward was given as numbers.
        exact: False as soon as a site's weights came from the model itself, not from its queries and keys.
        doors: how many calls were captured in each of the ways of :mod:`.doors`.
        at_interface: how many calls the tap heard, the rest being overheard.
    """

    model: nn.Module
    keep: Callable[[CallSite, AttentionWeights], Result]
    valid: Tensor | None = None
    check: bool = True
    batch: int | None = None
    sequences: tuple[tuple[int, ...], ...] = ()
    deviation: float = 0.0
    exact: bool = True
    at_interface: int = 0
    doors: dict[str, int] = field(default_factory=dict)
    watch: AttentionDispatchMode | None = None
    _reader: MaskReader = field(init=False)
    _samples: dict[Hashable, tuple[Visibility, Sample]] = field(default_factory=dict)
    _places: list[tuple[CallSite, int]] = field(default_factory=list)
    _results: list[Result] = field(default_factory=list)
    _parts: list[Part] = field(default_factory=list)
    _last: tuple[nn.Module, tuple[Any, ...]] | None = None

    def __post_init__(self) -> None:
        self._reader = MaskReader(self.valid)

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def around(self) -> AbstractContextManager[None]:
        """The watch looks away while the interface's function runs: it is heard already, and may be a compiled one."""
        return nullcontext() if self.watch is None else NoModes()

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        self.at_interface += 1
        self._count(doors.INTERFACE)
        with NoModes():  # the watch need not see what is ours
            self._captured(call, output)
        return output

    def on_call(self, call: AttentionCall, output: Tensor, origin: Origin | None) -> None:
        """A call outside of the interface, whose arrays may be ``[head, batch, token, channel]``."""
        self._count(doors.FUSED if call.backend == "sdpa" else doors.LAYER)
        if heads_come_first(call.module, call.name, call.query, self._rows_of(call.module)):
            swapped = {side: getattr(call, side).transpose(0, 1) for side in ("query", "key", "value")}
            mask = call.mask.transpose(0, 1) if isinstance(call.mask, Tensor) and call.mask.dim() == 4 else call.mask
            # [head, query, batch, channel] → [batch, query, head, channel]
            call, output = replace(call, mask=mask, **swapped), output.transpose(0, 2)
        check_heads_apart(call.module, call.name, call.query.shape[1], call.query.shape[2], call.key.shape[2])
        self._captured(call, output, origin)

    @without_grad
    def _captured(self, call: AttentionCall, output: Tensor, origin: Origin | None = None) -> None:
        source, low = read_call(call, self._reader)
        if self.check and not (call.module.training and call.options.get("dropout")):
            self.deviation = max(self.deviation, verify(call, source, output, self.valid, low, self._samples))
        again = self._again(call.module, (call.query, call.key, call.mask), operator.is_)
        self._arrived(call.module, call.name, origin, again, source=source)

    @without_grad
    def on_weights(self, module: nn.Module, name: str, weights: Tensor, origin: Origin | None) -> None:
        flexible = self.watch is not None and id(module) in self.watch.flexible
        is_sparse = type(module).__name__ in SPARSE
        self._count(doors.SPARSE if is_sparse else doors.FLEX if flexible else doors.SOFTMAX)
        self.exact = False
        again = self._again(module, (weights,), torch.equal)
        self._arrived(module, name, origin, again, weights=weights)

    def _arrived(
        self,
        module: nn.Module,
        name: str,
        origin: Origin | None,
        again: bool,
        *,
        source: ScoreSource | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """A call, which waits until it is known whether the next ones are further parts of it."""
        if origin is None or again:
            self.finish()
            self._keep(module, name, again, source, weights)
            return
        holder = name.rpartition(".")[0]
        listed = isinstance(self.model.get_submodule(holder), (nn.ModuleList, nn.ModuleDict))
        part = Part(module, name, origin, holder if listed else None, source, weights)
        if self._parts and not go_together(self._parts, part):
            self.finish()
        self._parts.append(part)

    def refuse(self, error: AttentionAnalyzerError) -> None:
        """What cannot be shown is an error."""
        raise error

    @without_grad
    def finish(self) -> None:
        """No further part of what was captured last will follow."""
        waiting, self._parts = self._parts, []
        if not waiting:
            return
        for part in joined(waiting, self._rows_of(waiting[0].module)):
            self._keep(part.module, part.name, False, part.source, part.weights)

    def _keep(
        self, module: nn.Module, name: str, again: bool, source: ScoreSource | None, weights: Tensor | None
    ) -> None:
        rows = self._rows_of(module)
        lazy: AttentionWeights
        if source is not None:
            lazy = QueryKeyWeights(unfold_source(source, rows))
            place = self._place(module, name, source.visibility, again, chunk_of(lazy.source))
        else:
            assert weights is not None
            stored = dense_weights(module, name, weights, rows, self.valid)
            place = self._place(module, name, stored.seen, again)
            lazy = unfold_weights(stored, rows)
        self._places.append((place, lazy.heads))
        self._results.append(self.keep(place, lazy))

    def _count(self, door: str) -> None:
        self.doors[door] = self.doors.get(door, 0) + 1

    def _rows_of(self, module: nn.Module) -> int | None:
        """Texts or images in the forward, where a module's rows are of them: the first axis of its inputs.

        Of torch's own attention that takes ``[token, batch, channel]`` it is not the first, and its rows are the batch.
        """
        return None if getattr(module, "batch_first", True) is False else self.batch

    def _again(self, module: nn.Module, made_of: tuple[Any, ...], same: Callable[[Any, Any], bool]) -> bool:
        """Whether a module applies the attention of the last call to other values (DiffLlama, LiLT)."""
        last, self._last = self._last, (module, made_of)
        return last is not None and last[0] is module and all(map(same, made_of, last[1]))

    def _place(
        self, module: nn.Module, name: str, seen: Visibility, again: bool, chunk: tuple[Any, ...] | None = None
    ) -> CallSite:
        """Where a call was made. Chunks of a module are parts of one attention, and so is one that is applied again."""
        attention = self._places[-1][0].attention if again else chunk or len(self._places)
        holder = type(self.model.get_submodule(name.rpartition(".")[0])).__name__
        return CallSite(module, name, self._is_causal(module, seen), attention, again, holder, self._is_cross(seen))

    def _is_cross(self, seen: Visibility) -> bool:
        """Whether queries are as many as one sequence of the inputs has tokens, and keys as many as another has."""
        return any(
            len(mine) == len(theirs)
            and (seen.queries in mine and seen.queries not in theirs)
            and (seen.keys in theirs and seen.keys not in mine)
            for mine in self.sequences
            for theirs in self.sequences
        )

    def _is_causal(self, module: nn.Module, seen: Visibility) -> bool:
        """Whether queries see only what came before; the last one sees everything, so of it the module is asked."""
        if seen.queries > 1:
            return seen.upper is not None and seen.upper <= max(seen.keys - seen.queries, 0)
        declared = getattr(module, "is_causal", None)
        if not isinstance(declared, bool):
            config = getattr(self.model, "config", None)
            declared = getattr(config, "is_decoder", False) or type(self.model).__name__.endswith("ForCausalLM")
        return declared

    @property
    def places(self) -> list[CallSite]:
        """Where the calls so far were made, in order."""
        return [place for place, _ in self._places]

    @property
    def calls(self) -> int:
        return len(self._results)

    def result(self, index: int) -> Result:
        """What a call left."""
        return self._results[index]

    def captured(self) -> list[tuple[Site, list[Result]]]:
        """Sites in the order of their first call, each with what its calls left (more than one only for parts)."""
        return [(site, [self.result(index) for index in calls]) for site, calls in self.sites()]

    def sites(self) -> list[tuple[Site, list[int]]]:
        """Sites in the order of their first call, each with the numbers of its calls."""
        config = getattr(self.model, "config", None)
        depths = declared_depths(config) if config is not None else frozenset()
        sites: dict[tuple[str, str, int], tuple[Site, list[int]]] = {}
        for index, key in enumerate(number_layers(self.places, depths)):
            place, heads = self._places[index]
            sites.setdefault(key, (Site(*key, heads, place.path), []))[1].append(index)
        return list(sites.values())


@contextmanager
def capturing(capture: Capture[Result], *, outside: bool = True) -> Iterator[Capture[Result]]:
    """Open the tap for a capture and, unless told otherwise, watch for attention outside of it.

    Watching looks at every tensor operation of the model, which costs time; see :func:`.forward.capture_forward`.
    """
    if not outside:
        with hook_attention(capture.model, capture):
            yield capture
        return
    with intercept(capture.model, capture) as watch, hook_attention(capture.model, capture):
        capture.watch = watch
        yield capture


def recorded_sites(capture: Capture[AttentionWeights]) -> list[tuple[Site, AttentionWeights]]:
    """Sites and weights of a recording; chunks of one site are put together."""
    places = capture.places
    return [
        (site, _together([capture.result(index) for index in calls if index == calls[0] or not places[index].again]))
        for site, calls in capture.sites()
    ]


def _together(parts: list[AttentionWeights]) -> AttentionWeights:
    sources = [part.source for part in parts if isinstance(part, QueryKeyWeights)]
    return QueryKeyWeights(merge_chunks(sources)) if len(sources) > 1 else parts[0]
