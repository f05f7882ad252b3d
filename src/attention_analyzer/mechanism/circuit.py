"""Circuits: a small set of heads that does what the whole model does on pairs of texts.

The model reads the clean text; every head outside of the circuit writes what it wrote for the corrupted one (resample
ablation; Chan et al. 2022, Conmy et al. 2023). MLPs are computed as usual. With m the metric,

    faithfulness(C) = (m(C) - m(no heads)) / (m(all heads) - m(no heads)).

Heads are ranked by their gradient estimate, the shortest list that is faithful is taken, and heads that it does without
are removed, all on half of the pairs. Everything that is reported is measured on the other half.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, OnError
from attention_analyzer.inputs import Text
from attention_analyzer.interventions.selection import head_name
from attention_analyzer.mechanism.circuit_result import Circuit
from attention_analyzer.mechanism.edited_runs import Activations, Edits, Runs, Slot
from attention_analyzer.mechanism.pairs import Metric, Pair, logit_metric, measured, pair_of, same_length, stacked
from attention_analyzer.mechanism.patching import OUTPUT, head_edit, path_edits
from attention_analyzer.mechanism.target import LogitTarget, Token, last_logits
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.site import Site
from attention_analyzer.usable_texts import usable_texts

#: A clean text and a corrupted one, with the tokens whose logits are compared where they are not the most probable.
PairLike: TypeAlias = tuple[Text, Text] | tuple[Text, Text, Token, Token]
Head = tuple[Site, int]
_Given: TypeAlias = tuple[Pair, tuple[Token, ...]]
_INPUTS: tuple[Slot, ...] = ("query", "key", "value")
FEWEST_PAIRS = 6
_DRAWS = 2_000


def circuit(
    loaded: LoadedModel,
    pairs: Sequence[PairLike],
    metric: Metric | None = None,
    *,
    faithfulness: float = 0.8,
    controls: int = 20,
    seed: int = 0,
    truncate: bool = False,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> Circuit:
    """The smallest set of heads found that is faithful to the model, with held-out figures and random controls.

    Args:
        pairs: at least six of ``(clean, corrupted)`` or ``(clean, corrupted, target, versus)``; each two of the same
            number of tokens. Every second pair is used to find the circuit, the others to measure it.
        metric: a function of logits ``[position, vocabulary]`` that returns one number; by default the logit of the
            target less that of the other token.
        faithfulness: how much of the metric the circuit must keep on the pairs that it is found on, in (0, 1].
        controls: how many random sets of heads of the same size are measured.
        seed: of the controls and of the intervals.
        truncate: cut what the model has no positions for.
        errors: "raise", or "skip" to leave out pairs that cannot be used and list them in ``problems``.
        progress: called with how many sets of heads are measured and how many at most.

    Raises:
        InputError: too few pairs, a pair of different lengths, a metric that is no number, or one that is the same with
            and without heads.
        UnsupportedModelError: the attention is computed outside of the library's interface.
    """
    kept = usable_texts(
        loaded, pairs, errors=errors, check=lambda pair: _read_pair(loaded, pair, truncate), noun="Pair"
    )
    pairs = kept.texts
    if len(pairs) < FEWEST_PAIRS:
        raise InputError(f"A circuit needs at least {FEWEST_PAIRS} pairs, half of them held out, not {len(pairs)}.")
    if not 0 < faithfulness <= 1:
        raise InputError(f"faithfulness must be above 0 and at most 1, not {faithfulness}.")
    made = [_read_pair(loaded, pair, truncate) for pair in pairs]
    found_on = _Measured(loaded, made[::2], metric)
    held_out = _Measured(loaded, made[1::2], metric)
    ranked = found_on.ranked()
    counter = _Counter(progress, 4 * len(ranked))
    chosen = _shortest(found_on, ranked, faithfulness, counter)
    chosen = _pruned(found_on, chosen, faithfulness, counter)
    chosen = sorted(chosen, key=lambda head: (found_on.sites.index(head[0]), head[1]))
    found = _reported(held_out, chosen, found_on.faithful(chosen), controls, seed, counter, name=loaded.name)
    return kept.noted(found)


@dataclass
class _Group:
    """Pairs of one length, run as a batch."""

    numbers: list[int]
    runs: Runs
    inputs: dict[str, Any]
    clean: Activations
    corrupted: Activations
    metrics: list[Metric | LogitTarget]

    def values(self, logits: Tensor) -> Tensor:
        return torch.cat([measured(one, row[None]) for one, row in zip(self.metrics, logits, strict=True)])


class _Measured:
    """A set of pairs on which circuits are measured."""

    def __init__(
        self, loaded: LoadedModel, pairs: Sequence[tuple[Pair, tuple[Token, ...]]], metric: Metric | None
    ) -> None:
        self.count = len(pairs)
        self.groups = []
        for numbers in same_length([pair for pair, _ in pairs]):
            members = [pairs[number] for number in numbers]
            clean, corrupted = (
                stacked([getattr(pair, side) for pair, _ in members]) for side in ("clean", "corrupted")
            )
            runs = Runs(loaded, clean, last_logits(loaded, None) if metric is None else {})
            seen, other = runs.see(clean), runs.see(corrupted)
            metrics: list[Metric | LogitTarget] = []
            for row, (pair, tokens) in enumerate(members):
                target, versus = tokens or (None, None)
                ends = seen.logits[row : row + 1], other.logits[row : row + 1]
                metrics.append(metric or logit_metric(loaded, pair, *ends, target, versus, None))
            self.groups.append(_Group(numbers, runs, clean, seen, other, metrics))
        self.sites = self.groups[0].runs.sites
        self.heads: list[Head] = [(site, head) for site in self.sites for head in range(site.heads)]
        self.full = self.joined([group.clean.logits for group in self.groups])
        self.empty = self.of([])
        if abs(float(self.full.mean() - self.empty.mean())) < 1e-6:
            raise InputError(
                "The metric is the same with all heads and with none, so no head can matter to it; choose corrupted "
                "texts that change the prediction."
            )

    def of(self, heads: Iterable[Head]) -> np.ndarray:
        """The metric of each pair with only these heads clean."""
        kept = set(heads)
        results = []
        for group in self.groups:
            edits = {}
            for site in self.sites:
                out = [head for head in range(site.heads) if (site, head) not in kept]
                if out:
                    edits[site.name, OUTPUT] = head_edit(OUTPUT, out, group.corrupted.slots[site.name, OUTPUT])
            results.append(group.runs.logits(group.inputs, Edits(edits), group.clean))
        return self.joined(results)

    def faithful(self, heads: Iterable[Head]) -> float:
        return float(self.fraction(self.of(heads)))

    def fraction(self, values: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Of the way from no heads to all, how far the mean over pairs is; rows ``[draw, pair]`` choose pairs."""
        chosen = np.arange(self.count) if rows is None else rows
        full, empty, mine = (each[chosen].mean(-1) for each in (self.full, self.empty, values))
        result: np.ndarray = (mine - empty) / (full - empty)
        return result

    def ranked(self) -> list[Head]:
        """All heads, those with the largest gradient estimate first."""
        sizes = dict.fromkeys(self.heads, 0.0)
        for group in self.groups:
            seen = group.runs.see(group.inputs, grad=True)
            outputs = [seen.slots[site.name, OUTPUT] for site in self.sites]
            found = torch.autograd.grad(
                group.values(seen.logits).sum(), outputs, materialize_grads=True, allow_unused=True
            )
            for site, gradient in zip(self.sites, found, strict=True):
                apart = group.clean.slots[site.name, OUTPUT] - group.corrupted.slots[site.name, OUTPUT]
                for head, size in enumerate((gradient * apart).double().sum((0, 1, 3)).tolist()):
                    sizes[site, head] += size
        return sorted(self.heads, key=lambda head: -abs(sizes[head]))

    def joined(self, logits: Sequence[Tensor]) -> np.ndarray:
        values = np.empty(self.count)
        for group, each in zip(self.groups, logits, strict=True):
            values[group.numbers] = group.values(each).detach().double().cpu().numpy()
        return values


@dataclass
class _Counter:
    progress: OnProgress | None
    most: int
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.most), self.most)


def _read_pair(loaded: LoadedModel, given: PairLike, truncate: bool) -> _Given:
    if len(given) not in (2, 4):
        raise InputError("Expected (clean, corrupted) or (clean, corrupted, target, versus).")
    return pair_of(loaded, given[0], given[1], truncate=truncate), tuple(given[2:])


def _shortest(found_on: _Measured, ranked: list[Head], wanted: float, count: _Counter) -> list[Head]:
    """The shortest start of the ranking that is faithful, by doubling and halving."""

    def enough(size: int) -> bool:
        count()
        return found_on.faithful(ranked[:size]) >= wanted

    high = 1
    while high < len(ranked) and not enough(high):
        high *= 2
    low, high = high // 2, min(high, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return ranked[:high]


def _pruned(found_on: _Measured, heads: list[Head], wanted: float, count: _Counter) -> list[Head]:
    """Without the heads that are not needed, the least needed first."""
    kept = list(heads)
    while len(kept) > 1:
        scores = []
        for head in kept:
            count()
            scores.append(found_on.faithful([other for other in kept if other != head]))
        best = int(np.argmax(scores))
        if scores[best] < wanted:
            break
        del kept[best]
    return kept


def _reported(
    held_out: _Measured, chosen: list[Head], found: float, controls: int, seed: int, count: _Counter, *, name: str
) -> Circuit:
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, held_out.count, (_DRAWS, held_out.count))
    mine = held_out.of(chosen)
    rest = held_out.of([head for head in held_out.heads if head not in chosen])
    rows = []
    for head in chosen:
        count()
        without = held_out.of([other for other in chosen if other != head])
        low, high = _interval(held_out.fraction(mine, draws) - held_out.fraction(without, draws))
        lost = float(held_out.fraction(mine) - held_out.fraction(without))
        rows.append(
            {"component": head_name(head, held_out.sites), "stack": head[0].stack, "kind": head[0].kind,
             "layer": head[0].layer, "head": head[1], "lost": lost, "low": low, "high": high}
        )  # fmt: skip
    random = []
    for _ in range(controls):
        count()
        drawn = generator.choice(len(held_out.heads), len(chosen), replace=False)
        random.append(held_out.faithful([held_out.heads[number] for number in drawn]))
    return Circuit(
        heads=pd.DataFrame(rows),
        edges=_edges(held_out, chosen, count),
        faithfulness=float(held_out.fraction(mine)),
        interval=_interval(held_out.fraction(mine, draws)),
        found_faithfulness=found,
        rest=float(held_out.fraction(rest)),
        rest_interval=_interval(held_out.fraction(rest, draws)),
        random=tuple(random),
        all_heads=len(held_out.heads),
        pairs=held_out.count,
        clean=float(held_out.full.mean()),
        without=float(held_out.empty.mean()),
        model_name=name,
    )


def _edges(held_out: _Measured, chosen: list[Head], count: _Counter) -> pd.DataFrame:
    """What the metric loses where one head's writing is corrupted for one input of a later head alone."""
    rows = []
    order = list(held_out.sites)
    for receiver in chosen:
        for sender in chosen:
            if order.index(sender[0]) >= order.index(receiver[0]):
                continue
            for slot in _INPUTS:
                count()
                results = []
                for group in held_out.groups:
                    edits = path_edits(
                        group.runs, group.inputs, group.clean, group.corrupted, (sender, receiver), (slot,)
                    )
                    results.append(group.runs.logits(group.inputs, edits, group.clean))
                lost = 1 - float(held_out.fraction(held_out.joined(results)))
                names = (head_name(head, held_out.sites) for head in (sender, receiver))
                rows.append((*names, slot, lost))
    return pd.DataFrame(rows, columns=["sender", "receiver", "input", "lost"])


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
