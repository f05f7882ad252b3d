"""Forwards collected while a block runs: each whole by itself, or a prompt's forward with all its cached steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.assembly import Axes, Axis
from attention_analyzer.decoding import Room, Sequences, without_unused_keys
from attention_analyzer.errors import AttentionAnalyzerError, TooLongError, UnsupportedModelError
from attention_analyzer.forwards import Forward
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.session import recorded_sites
from attention_analyzer.models.fingerprint import State
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.memory import kept_bytes, kept_tensors, storages

#: Sequences that may still grow, and encoded texts that may still be read; a further one ends the oldest.
_WAITING = 8
Sites = list[tuple[Site, AttentionWeights]]


@dataclass(frozen=True)
class Collected:
    """A forward, or sequences with all their cached steps.

    Attributes:
        sites, axes, inputs: as of one forward over everything.
        state: of the model at the (first) forward.
        steps: how many forwards it took; ``taken_back``: tokens that a later step went back before.
        not_captured: paths of modules that attended in a way that cannot be shown.
    """

    sites: Sites
    axes: Axes
    inputs: dict[str, Any]
    deviation: float
    exact: bool
    state: State
    steps: int = 1
    not_captured: tuple[str, ...] = ()
    taken_back: int = 0

    @property
    def nbytes(self) -> int:
        return kept_bytes(weights for _, weights in self.sites)


@dataclass
class _Growing:
    """Sequences to which steps may be added."""

    sequences: Sequences
    state: State
    source: Collected | None
    not_captured: tuple[str, ...]


@dataclass
class Collector:
    """Takes in forwards as they end.

    Attributes:
        wanted: which of a forward's sites are kept.
        reduce: what is kept of a whole instead of itself; None to keep it.
        nothing: why the last forward without any attention to show had none.
        problem: why collecting stopped. The forwards themselves go on undisturbed.
        slots: what was collected, in the order it began: a :class:`Collected`, what ``reduce`` made of it, or None
            where sequences still grow.
    """

    loaded: LoadedModel
    wanted: Callable[[Sites], Sites]
    reduce: Callable[[Collected], Any] | None
    max_bytes: int
    nothing: str = ""
    problem: AttentionAnalyzerError | None = None
    slots: list[Any] = field(default_factory=list)
    _growing: dict[int, _Growing] = field(default_factory=dict)
    _encoders: list[tuple[Forward, Collected, int]] = field(default_factory=list)
    _kept: int = 0
    _passing: dict[int, int] = field(default_factory=dict)

    def keep(self, place: CallSite, weights: AttentionWeights) -> AttentionWeights | None:
        """A call's weights, if there is room for them."""
        if self.problem is not None:
            return None
        self._passing |= dict(storages(kept_tensors(weights)))
        held = self._kept + sum(each.sequences.nbytes for each in self._growing.values())
        if held + sum(self._passing.values()) > self.max_bytes:
            self._stop(
                TooLongError(
                    f"Capturing stopped at {place.path or 'the model'}: queries, keys and masks would take more "
                    f"than max_bytes={self.max_bytes:,}; pass metrics=[…] to keep numbers only, fewer layers=[…], or a "
                    "larger bound."
                )
            )
            return None
        return weights

    def finished(self, forward: Forward) -> None:
        """A forward has ended."""
        self._passing = {}
        if self.problem is None and forward.capture.problem is not None:
            self._stop(forward.capture.problem)
        if self.problem is not None:
            return
        self.nothing = forward.nothing or self.nothing
        sites = _kept_sites(forward)
        if not sites:
            return
        for slot, growing in self._growing.items():
            if growing.sequences.grow(sites, forward.inputs, forward.capture.deviation):
                self._growing[slot] = self._growing.pop(slot)  # the youngest
                return
        self._begin(forward, sites)

    def _begin(self, forward: Forward, sites: Sites) -> None:
        capture, state = forward.capture, State.of(self.loaded.model)
        if forward.entry is not self.loaded.model and all(site.tower == "encoder" for site, _ in sites):
            whole = self._whole(sites, Axes.of(forward.inputs), forward, state)
            self._encoders = [*self._encoders[-_WAITING:], (forward, whole, len(self.slots))]
            self._add(whole)
            return
        source = self._read_by(forward)
        virtual = self.loaded.virtual_tokens
        begun = Sequences.begin(sites, forward.inputs, capture.deviation, capture.exact, virtual=virtual)
        if begun is None:
            axes = Axes.of(forward.inputs)
            axes = replace(axes, source=axes.source or _source_axis(source, sites))
            self._add(self._whole(_behind(source, sites), axes, forward, state))
            return
        self.slots.append(None)  # first: after an interrupt a slot may be empty, but none is missing
        self._growing[len(self.slots) - 1] = _Growing(begun, state, source, forward.not_captured)
        if len(self._growing) > _WAITING:
            try:
                self._end(next(iter(self._growing)))
            except AttentionAnalyzerError as error:  # which a forward of the user's must not meet
                self._stop(error)

    def close(self) -> None:
        """No forward will follow."""
        self._encoders.clear()
        if self.problem is None:
            try:
                for slot in list(self._growing):
                    self._end(slot)
            except AttentionAnalyzerError as error:
                self._stop(error)

    def so_far(self) -> list[Any]:
        """The slots, with sequences that still grow as they are now."""
        grown = {slot: self._reduced(self._joined(growing)) for slot, growing in self._growing.items()}
        slots = [grown.get(number, each) for number, each in enumerate(self.slots)]
        return [each for each in slots if each is not None]

    def _whole(self, sites: Sites, axes: Axes, forward: Forward, state: State) -> Collected:
        capture = forward.capture
        return Collected(
            self.wanted(sites),
            axes,
            forward.inputs,
            capture.deviation,
            capture.exact,
            state,
            not_captured=forward.not_captured,
        )

    def _add(self, whole: Collected) -> None:
        self._kept += whole.nbytes if self.reduce is None else 0
        self.slots.append(self._reduced(whole))

    def _reduced(self, whole: Collected) -> Any:
        return whole if self.reduce is None else self.reduce(whole)

    def _end(self, slot: int) -> None:
        """No step will be added."""
        whole = self._joined(self._growing.pop(slot))
        self._kept += whole.nbytes if self.reduce is None else 0
        self.slots[slot] = self._reduced(whole)

    def _joined(self, growing: _Growing) -> Collected:
        sequences, source = growing.sequences, growing.source
        others = sum(each.sequences.nbytes for each in self._growing.values() if each is not growing)
        sites = sequences.sites(Room(self.max_bytes - self._kept - others - sequences.nbytes))
        if sites is None:
            raise UnsupportedModelError(
                f"Sequences that {self.loaded.name or type(self.loaded.model).__name__} decoded have masks that take "
                "too much memory together; record the finished text with analyzer.record(text) instead."
            )
        return Collected(
            self.wanted(_behind(source, sites)),
            sequences.axes(_source_axis(source, sites)),
            sequences.inputs,
            sequences.deviation,
            sequences.exact,
            growing.state,
            sequences.steps,
            growing.not_captured,
            sequences.taken_back,
        )

    def _read_by(self, decoder: Forward) -> Collected | None:
        """The encoder's forward whose output a decoder was given; it is part of the decoder's records from now on."""
        given = _hidden(decoder.inputs.get("encoder_outputs"))
        for encoder, whole, slot in reversed(self._encoders):
            made = _hidden(encoder.output)
            if given is None or made is None or not len(made) or len(given) % len(made):
                continue
            if torch.equal(made.repeat_interleave(len(given) // len(made), 0), given):
                self.slots[slot] = None
                return whole
        return None

    def _stop(self, problem: AttentionAnalyzerError) -> None:
        self.problem = problem
        self.slots.clear()
        self._growing.clear()
        self._encoders.clear()


def _kept_sites(forward: Forward) -> Sites:
    capture = forward.capture
    if any(capture.result(index) is None for index in range(capture.calls)):
        return []
    return without_unused_keys(recorded_sites(capture))  # type: ignore[arg-type]


def _hidden(output: Any) -> Tensor | None:
    """The hidden state in what an encoder returns."""
    if isinstance(output, Tensor):
        return output
    first = output[0] if isinstance(output, tuple | list) and output else getattr(output, "last_hidden_state", None)
    return first if isinstance(first, Tensor) else None


def _behind(source: Collected | None, sites: Sites) -> Sites:
    """A decoder's sites after those of the encoder that it reads, whose texts are repeated for each sequence."""
    if source is None:
        return sites
    rows = max(weights.batch for _, weights in sites)
    return [*((site, _repeated(weights, rows)) for site, weights in source.sites), *sites]


def _source_axis(source: Collected | None, sites: Sites) -> Axis | None:
    """The tokens that an encoder read, for each sequence of a decoder's sites."""
    if source is None or source.axes.source is None:
        return None
    rows, encoded = (max(weights.batch for _, weights in each) for each in (sites, source.sites))
    return source.axes.source.repeated(max(rows // encoded, 1))


def _repeated(weights: AttentionWeights, rows: int) -> AttentionWeights:
    times = rows // weights.batch
    if times <= 1 or not isinstance(weights, QueryKeyWeights):
        return weights
    return QueryKeyWeights(weights.source.of_rows(torch.arange(weights.batch).repeat_interleave(times)))


def layers_among(sites: Sites, layers: Sequence[int]) -> Sites:
    """The sites of some layers, which are counted from the end of their stack if negative."""
    depths = depths_of(sites)
    asked = {(place, layer % size) for place, size in depths.items() for layer in layers if -size <= layer < size}
    return [(site, weights) for site, weights in sites if ((site.stack, site.kind), site.layer) in asked]


def depths_of(sites: Sites) -> dict[tuple[str, str], int]:
    """Layers of each stack and kind."""
    depths: dict[tuple[str, str], int] = {}
    for site, _ in sites:
        depths[site.stack, site.kind] = max(depths.get((site.stack, site.kind), 0), site.layer + 1)
    return depths
