"""A capture: one forward listened to, its calls sorted into sites.

Two modes share one code path. *Recording* keeps queries and keys, so that anything may be asked afterwards;
*streaming* hands each call's weights to a function inside the forward and lets them go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from attention_analyzer.capture.calls import merge_chunks, score_source, verify
from attention_analyzer.capture.handed import dense_weights
from attention_analyzer.capture.masks import MaskReader
from attention_analyzer.capture.naming import CallPlace, declared_depths, number_layers
from attention_analyzer.capture.overhear import Watch, overhearing
from attention_analyzer.capture.tap import AttentionCall, tap
from attention_analyzer.capture.windows import unfold_source, unfold_weights
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
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
        exact: False as soon as a site's weights came from the model itself, not from its queries and keys.
        at_interface: how many calls the tap heard, the rest being overheard.
    """

    model: nn.Module
    keep: Callable[[CallPlace, AttentionWeights], Result]
    valid: Tensor | None = None
    check: bool = True
    batch: int | None = None
    deviation: float = 0.0
    exact: bool = True
    at_interface: int = 0
    watch: Watch | None = None
    _reader: MaskReader = field(default_factory=MaskReader)
    _places: list[tuple[CallPlace, int]] = field(default_factory=list)
    _results: list[Result] = field(default_factory=list)

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    @contextmanager
    def around(self) -> Iterator[None]:
        """The watch looks away while the interface's function runs: it is heard already, and may be a compiled one."""
        if self.watch is None:
            yield
        else:
            with _disable_current_modes():
                yield

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        self.at_interface += 1
        with _disable_current_modes():  # the watch need not see what is ours
            self.overheard_call(call, output)
        return output

    def overheard_call(self, call: AttentionCall, output: Tensor) -> None:
        with torch.no_grad():
            source = score_source(call, self._reader)
            if self.check and not (call.module.training and call.options.get("dropout")):
                self.deviation = max(self.deviation, verify(call, source, output, self.valid))
            weights = QueryKeyWeights(unfold_source(source, self.batch))
            self._keep(CallPlace(call.module, call.name, self._is_causal(call.module, source.visibility)), weights)

    def overheard_weights(self, module: nn.Module, name: str, weights: Tensor) -> None:
        with torch.no_grad():
            stored = dense_weights(module, name, weights, self.batch, self.valid)
            self.exact = False
            place = CallPlace(module, name, self._is_causal(module, stored.seen))
            self._keep(place, unfold_weights(stored, self.batch))

    def _is_causal(self, module: nn.Module, seen: Visibility) -> bool:
        """Whether queries see only what came before; the last one sees everything, so of it the module is asked."""
        if seen.queries > 1:
            return seen.upper is not None and seen.upper <= max(seen.keys - seen.queries, 0)
        declared = getattr(module, "is_causal", None)
        if not isinstance(declared, bool):
            config = getattr(self.model, "config", None)
            declared = getattr(config, "is_decoder", False) or type(self.model).__name__.endswith("ForCausalLM")
        return seen.keys > 1 and declared

    def _keep(self, place: CallPlace, weights: AttentionWeights) -> None:
        self._places.append((place, weights.heads))
        self._results.append(self.keep(place, weights))

    @property
    def places(self) -> list[CallPlace]:
        """Where the calls so far were made, in order."""
        return [place for place, _ in self._places]

    @property
    def calls(self) -> int:
        return len(self._results)

    def captured(self) -> list[tuple[Site, list[Result]]]:
        """Sites in the order of their first call, each with what its calls left (more than one only for chunks)."""
        config = getattr(self.model, "config", None)
        depths = declared_depths(config) if config is not None else frozenset()
        numbered = number_layers([place for place, _ in self._places], depths)
        sites: dict[tuple[str, str, int], tuple[Site, list[Result]]] = {}
        for (place, heads), key, result in zip(self._places, numbered, self._results, strict=True):
            stack, kind, layer = key
            if key not in sites:
                sites[key] = (Site(stack, kind, layer, heads, place.path), [])
            sites[key][1].append(result)
        return list(sites.values())


@contextmanager
def listening(capture: Capture[Result], *, outside: bool = True) -> Iterator[Capture[Result]]:
    """Open the tap for a capture and, unless told otherwise, watch for attention outside of it.

    Watching looks at every tensor operation of the model, which costs time; see :func:`.forward.capture_forward`.
    """
    if not outside:
        with tap(capture.model, capture):
            yield capture
        return
    with overhearing(capture.model, capture) as watch, tap(capture.model, capture):
        capture.watch = watch
        yield capture


def recorded_sites(capture: Capture[AttentionWeights]) -> list[tuple[Site, AttentionWeights]]:
    """Sites and weights of a recording; chunks of one site are put together.

    Raises:
        UnsupportedModelError: chunks that cannot be put together.
    """
    result = []
    for site, parts in capture.captured():
        if len(parts) > 1:
            result.append((site, _together(site, parts)))
        else:
            result.append((site, parts[0]))
    return result


def _together(site: Site, parts: list[AttentionWeights]) -> AttentionWeights:
    sources = [part.source for part in parts if isinstance(part, QueryKeyWeights)]
    if len(sources) < len(parts):
        raise UnsupportedModelError(
            f"{site.module} attended {len(parts)} times in one forward; which is which is unknown."
        )
    first = sources[0]
    if all(torch.equal(first.query, other.query) and torch.equal(first.key, other.key) for other in sources[1:]):
        return parts[0]  # one attention, applied to several parts of the values (DiffLlama)
    try:
        return QueryKeyWeights(merge_chunks(sources))
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{site.module}: {error}") from None
