"""Activation patching: which activations of a clean run, put into a corrupted one, bring the prediction back.

Each row of the result is one forward of the corrupted text with one activation of the clean run in place of its own
(Vig et al. 2020; Meng et al. 2022; Heimersheim & Nanda 2024 on how to read it). ``recovered`` is
``(patched - corrupted) / (clean - corrupted)``: 0 where nothing changed, 1 where the prediction is the clean one.

Paths (Wang et al. 2022): what a head writes is changed only for one later head's queries, keys or values, or only for
the logits. All other heads stay as in the corrupted run, MLPs are computed again.

Attribution patching (Nanda 2023) estimates all heads from one backward: ``⟨∂ metric / ∂ z, z_clean - z_corrupted⟩`` at
the corrupted run. It is never shown alone: a sample is patched exactly, and the result says how far the two are apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.inputs import Text
from attention_analyzer.interventions.selection import Selector, head_name, select_heads
from attention_analyzer.mechanism.edited_runs import Activations, Edit, Edits, Runs, Slot
from attention_analyzer.mechanism.pairs import Metric, Pair, logit_metric, measured, pair_of
from attention_analyzer.mechanism.patching_result import Patching
from attention_analyzer.mechanism.target import LogitTarget, Token, last_logits
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.site import Site

What = Literal["heads", "queries", "keys", "values", "mlps", "residual"]
WHAT: tuple[What, ...] = ("heads", "queries", "keys", "values", "mlps", "residual")
#: What is patched at one position of one layer.
_STREAM: tuple[What, ...] = ("mlps", "residual")
_SLOTS: dict[str, Slot] = {"heads": "output", "queries": "query", "keys": "key", "values": "value"}
OUTPUT: Slot = "output"
#: The receiver of a path that is no head.
LOGITS = "logits"
#: The axis of heads in each slot.
_HEADS = {"output": 2, "query": 1, "key": 1, "value": 1}


def patch(
    loaded: LoadedModel,
    clean: Text,
    corrupted: Text,
    metric: Metric | None = None,
    *,
    what: What = "heads",
    into: Selector | None = None,
    approximate: bool = False,
    sample: int = 8,
    target: Token | None = None,
    versus: Token | None = None,
    position: int | None = None,
    seed: int = 0,
    truncate: bool = False,
    progress: OnProgress | None = None,
) -> Patching:
    """Put activations of a clean run into a corrupted one, one at a time, and measure what comes back.

    Args:
        clean, corrupted: two texts of the same number of tokens.
        metric: a function of logits ``[position, vocabulary]`` that returns one number; by default the logit of
            ``target`` less that of ``versus``.
        what: "heads" (what a head writes), "queries", "keys" or "values" (what it reads by; grouped heads share keys
            and values), "mlps" (what a layer's MLP writes at one position), or "residual" (what enters a layer at one
            position).
        into: only along the path into one head, such as "L4H2": with "heads", through all of its inputs; with
            "queries", "keys" or "values", through that one. "logits": only along the path past all later heads.
        approximate: estimate all heads by gradients, and patch only a sample exactly.
        sample: how many heads that sample has: half of them those with the largest estimates, half drawn at random.
        target, versus: tokens; by default the most probable ones after the clean and the corrupted text.
        position: where the prediction is read; by default the last token, or the mask.
        seed: of the sample.
        truncate: cut what the model has no positions for.
        progress: called with how many patches are done and how many there are.

    Raises:
        InputError: the texts have different numbers of tokens, or the metric is no number.
        SelectionError: there is no such head.
        UnsupportedModelError: the attention is computed outside of the library's interface.
        CaptureError: the metric is NaN.
    """
    _check(what, into, approximate, sample)
    pair = pair_of(loaded, clean, corrupted, truncate=truncate)
    runs = Runs(loaded, pair.corrupted, last_logits(loaded, position) if metric is None else {})
    before, wanted = runs.see(pair.corrupted), runs.see(pair.clean)
    chosen: Metric | LogitTarget = metric or logit_metric(
        loaded, pair, wanted.logits, before.logits, target, versus, position
    )
    ends = tuple(float(measured(chosen, seen.logits)[0]) for seen in (wanted, before))
    setting = _Setting(runs, pair, before, wanted, chosen, ends)
    rows = _stream_rows(setting, what) if what in _STREAM else _head_rows(setting, what)
    if not rows:
        raise UnsupportedModelError(
            f"The {'MLPs' if what == 'mlps' else 'layers'} of {loaded.name or 'the model'} were not found, so what="
            f"{what!r} is not available; heads, queries, keys and values are."
        )
    if into is not None:
        rows = _path_rows(setting, what, into)
    estimates = _estimates(setting, what) if approximate else None
    if estimates is not None:
        rows = _sampled(rows, estimates, sample, seed)
    for number, row in enumerate(rows):
        if row.edits is not None:
            row.values["value"] = setting.value(row.edits())
        if progress is not None:
            progress(number + 1, len(rows))
    return Patching(
        table=_table(rows, ends),
        what=what,
        clean=ends[0],
        corrupted=ends[1],
        metric=chosen.label if isinstance(chosen, LogitTarget) else getattr(chosen, "__name__", "metric"),
        into="" if into is None else _receiver(into, runs),
        tokens=pair.source,
        differ=pair.differ,
        approximate=approximate,
        model_name=loaded.name,
    )


@dataclass
class _Setting:
    """The two runs that everything is measured against."""

    runs: Runs
    pair: Pair
    corrupted: Activations
    clean: Activations
    metric: Metric | LogitTarget
    ends: tuple[float, ...]

    def value(self, edits: Edits) -> float:
        return float(measured(self.metric, self.runs.logits(self.pair.corrupted, edits, self.corrupted))[0])


@dataclass
class _Row:
    """A row of the table; ``edits`` makes what its run replaces, None for a row that is not measured."""

    values: dict[str, Any]
    edits: Callable[[], Edits] | None


def _check(what: What, into: Selector | None, approximate: bool, sample: int) -> None:
    if what not in WHAT:
        raise InputError(f"what must be one of {', '.join(map(repr, WHAT))}, not {what!r}.")
    if into is not None and what in _STREAM:
        raise InputError("into=… is a path between heads; choose what='heads', 'queries', 'keys' or 'values' with it.")
    if approximate and (into is not None or what in _STREAM):
        raise InputError("approximate=True estimates heads and their inputs, not paths, MLPs or the residual stream.")
    if sample < 1:
        raise InputError(f"sample must be at least 1, not {sample}: an estimate is never shown without exact patches.")


def head_edit(slot: Slot, heads: Iterable[int], values: Tensor) -> Edit:
    """Puts some heads' activations of another run in place of a run's own."""
    index = torch.tensor(sorted(heads), device=values.device)
    axis = _HEADS[slot]

    def edit(tensor: Tensor) -> Tensor:
        return tensor.index_copy(axis, index, values.index_select(axis, index).to(tensor.dtype))

    return edit


def constant(values: Tensor) -> Edit:
    """Puts the same values in whatever place."""
    return lambda _: values


def _head_rows(setting: _Setting, what: What) -> list[_Row]:
    slot = _SLOTS[what]

    def row(site: Site, head: int) -> _Row:
        values = setting.clean.slots[site.name, slot]
        edits = lambda: Edits({(site.name, slot): head_edit(slot, [head], values)})  # noqa: E731
        return _Row(_values_of(setting.runs.sites, site, head), edits)

    counts = {site: setting.clean.slots[site.name, slot].shape[_HEADS[slot]] for site in setting.runs.sites}
    return [row(site, head) for site, count in counts.items() for head in range(count)]


def _values_of(sites: tuple[Site, ...], site: Site, head: int) -> dict[str, Any]:
    return {
        "component": head_name((site, head), sites),
        "stack": site.stack,
        "kind": site.kind,
        "layer": site.layer,
        "head": head,
    }


def _stream_rows(setting: _Setting, what: What) -> list[_Row]:
    """One row per layer and position: what enters the layer there, or what its MLP writes there."""
    rows = []
    pieces = setting.pair.tokens.pieces
    found = setting.clean.entering if what == "residual" else setting.clean.written
    for number, path in enumerate(setting.runs.layers):
        clean = found.get(path)
        if clean is None or clean.numel() != clean.shape[-1] * len(pieces):
            continue
        for at, piece in enumerate(pieces):

            def edits(path: str = path, at: int = at, clean: Tensor = clean) -> Edits:
                def put(states: Tensor) -> Tensor:
                    states = states.clone()
                    # Experts may write ``[token, channel]`` without a batch.
                    states.view(-1, states.shape[-1])[at] = clean.reshape(-1, clean.shape[-1])[at]
                    return states

                return Edits(entering={path: put}) if what == "residual" else Edits(written={path: put})

            name = f"L{number}" if what == "residual" else f"L{number} MLP"
            rows.append(_Row({"component": name, "layer": number, "position": at, "token": piece}, edits))
    return rows


def _path_rows(setting: _Setting, what: What, into: Selector) -> list[_Row]:
    """Every earlier head's path into one head, or every head's into the logits."""
    if into == LOGITS:
        return _logit_rows(setting, what)
    receivers = select_heads(into, setting.runs.sites)
    if len(receivers) != 1:
        raise InputError(f"into=… names one head, but {into!r} names {len(receivers)}.")
    site, head = receivers[0]
    slots: tuple[Slot, ...] = ("query", "key", "value") if what == "heads" else (_SLOTS[what],)
    runs, base, other = setting.runs, setting.corrupted, setting.clean

    def row(sender: Site, number: int) -> _Row:
        path = (sender, number), (site, head)
        edits = lambda: path_edits(runs, setting.pair.corrupted, base, other, path, slots)  # noqa: E731
        return _Row(_values_of(runs.sites, sender, number), edits)

    earlier = runs.sites[: runs.sites.index(site)]
    return [row(sender, number) for sender in earlier for number in range(sender.heads)]


def _logit_rows(setting: _Setting, what: What) -> list[_Row]:
    """Every head's path to the logits, past all other heads."""
    if what != "heads":
        raise InputError(f"into={LOGITS!r} follows what heads write; leave what=… out, or name a head with {what!r}.")
    runs = setting.runs

    def row(sender: Site, number: int) -> _Row:
        edits = lambda: Edits(_only(runs, setting.corrupted, setting.clean, (sender, number)))  # noqa: E731
        return _Row(_values_of(runs.sites, sender, number), edits)

    return [row(sender, number) for sender in runs.sites for number in range(sender.heads)]


def _receiver(into: Selector, runs: Runs) -> str:
    return LOGITS if into == LOGITS else head_name(select_heads(into, runs.sites)[0], runs.sites)


def _only(runs: Runs, base: Activations, other: Activations, sender: tuple[Site, int]) -> dict[tuple[str, Slot], Edit]:
    """All heads as in ``base``, but one as in another run."""
    site, number = sender
    held = {(each.name, OUTPUT): constant(base.slots[each.name, OUTPUT]) for each in runs.sites}
    own, wanted = base.slots[site.name, OUTPUT], other.slots[site.name, OUTPUT]
    held[site.name, OUTPUT] = constant(head_edit(OUTPUT, [number], wanted)(own))
    return held


def path_edits(
    runs: Runs,
    inputs: Any,
    base: Activations,
    other: Activations,
    path: tuple[tuple[Site, int], tuple[Site, int]],
    slots: Iterable[Slot],
) -> Edits:
    """A receiver's inputs if one sender writes what it wrote in another run, with all other heads as in ``base``."""
    sender, (site, head) = path
    held = _only(runs, base, other, sender)
    seen = runs.see(inputs, edits=Edits(held))
    group = seen.slots[site.name, "query"].shape[1] // seen.slots[site.name, "key"].shape[1]
    numbers = {slot: head if slot == "query" else head // group for slot in slots}
    edits = {(site.name, slot): head_edit(slot, [at], seen.slots[site.name, slot]) for slot, at in numbers.items()}
    return Edits(edits)


def _estimates(setting: _Setting, what: What) -> dict[str, float]:
    """The first-order change of the metric by every head."""
    slot = _SLOTS[what]
    seen = setting.runs.see(setting.pair.corrupted, grad=True)
    value = measured(setting.metric, seen.logits)[0]
    names = [site.name for site in setting.runs.sites]
    found = torch.autograd.grad(
        value, [seen.slots[name, slot] for name in names], allow_unused=True, materialize_grads=True
    )
    result = {}
    for site, gradient in zip(setting.runs.sites, found, strict=True):
        apart = setting.clean.slots[site.name, slot] - setting.corrupted.slots[site.name, slot]
        product = gradient * apart
        axis = _HEADS[slot]
        for head, change in enumerate(product.double().movedim(axis, 0).flatten(1).sum(1).tolist()):
            result[head_name((site, head), setting.runs.sites)] = change
    return result


def _sampled(rows: list[_Row], estimates: dict[str, float], sample: int, seed: int) -> list[_Row]:
    """All rows with their estimates, only a sample of which is measured."""
    order = sorted(rows, key=lambda row: -abs(estimates[row.values["component"]]))
    largest = order[: (sample + 1) // 2]
    rest = order[len(largest) :]
    drawn = np.random.default_rng(seed).permutation(len(rest))[: sample - len(largest)]
    exact = {row.values["component"] for row in (*largest, *(rest[number] for number in drawn))}
    for row in rows:
        row.values["estimate"] = estimates[row.values["component"]]
        if row.values["component"] not in exact:
            row.edits = None
    return rows


def _table(rows: list[_Row], ends: tuple[float, ...]) -> pd.DataFrame:
    frame = pd.DataFrame([row.values for row in rows])
    if "value" not in frame:
        frame["value"] = float("nan")
    distance = ends[0] - ends[1]
    frame["recovered"] = (frame["value"] - ends[1]) / distance if distance else float("nan")
    if "estimate" in frame:
        frame["estimate"] = frame["estimate"] / distance if distance else float("nan")
    return frame
