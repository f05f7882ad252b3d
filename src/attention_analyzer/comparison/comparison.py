"""Two models, or two texts, beside each other: where attention differs, by head, layer and token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.arguments import explain
from attention_analyzer.captured import CapturedAttention
from attention_analyzer.comparison.inputs import entries_in, joined_rows, loaded_of, places_in
from attention_analyzer.comparison.matching import Matching, match_by_index, match_heads
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.inputs import check_readable
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import head_table
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import record_texts
from attention_analyzer.result import Basis, Result
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.alignment import Units, align
from attention_analyzer.text.chat import listed_texts
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts
from attention_analyzer.weights.divergence import divergence_by_row

if TYPE_CHECKING:
    pass

Floats = NDArray[np.float64]
#: Metrics whose change is told of every head.
CHANGES = ("entropy", "distance", "self_weight", "previous_weight", "first_weight", "special_weight")
_KEYS = ["stack", "kind", "layer", "head"]


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """What differs between two models (or two texts).

    Divergence is the Jensen–Shannon divergence of two heads' rows in nats, between 0 and ``log 2 = 0.693``, mean over
    the aligned tokens. Intervals are 95 %, by bootstrap over the texts; NaN for a single text.

    Attributes:
        names, fingerprints: of the two models.
        matching: which heads are compared with which.
        heads: one row per pair: ``stack, kind, layer, head, other_layer, other_head, matched``, ``divergence, low,
            high``, and for each of :data:`CHANGES` the first's value, ``…_change`` (second minus first), ``…_low,
            …_high``. The largest divergence is first.
        layers: the same by layer of the first model: mean divergence with interval, and mean changes.
        tokens: one row per aligned unit of tokens: ``text, stack, kind, position, token, other_token, divergence``
            (mean over the pairs of heads), and the ``layer, head`` that differs most there.
        texts: the pairs of texts that were read.
        records: of the first pair of texts.
        unaligned: tokens of all texts that have no counterpart.
    """

    names: tuple[str, str]
    fingerprints: tuple[str, str]
    matching: Matching
    heads: pd.DataFrame = field(repr=False)
    layers: pd.DataFrame = field(repr=False)
    tokens: pd.DataFrame = field(repr=False)
    texts: tuple[tuple[str | Pair, str | Pair], ...] = field(repr=False)
    records: tuple[CapturedAttention, CapturedAttention] = field(repr=False)
    unaligned: int = 0

    @property
    def divergence(self) -> float:
        """Mean over all pairs of heads, in nats."""
        return float(self.heads["divergence"].mean())

    def report(self) -> str:
        """What changed most, in words."""
        from attention_analyzer.comparison.report import report

        return report(self)

    def basis(self) -> Basis:
        return Basis(len(self.texts))

    def facts(self) -> tuple[str, ...]:
        worst = self.heads.iloc[0]
        return (
            f"{len(self.heads)} pairs of heads on {len(self.texts)} texts: mean divergence {self.divergence:.3g} nats",
            f"most in L{worst['layer']}H{worst['head']}: {worst['divergence']:.3g} nats",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`heads`."""
        return self.heads

    @property
    def subject(self) -> str:
        return " and ".join(self.names)


@explain
def compare(
    first: Any,
    second: Any = None,
    *,
    texts: str | Pair | Sequence[str | Pair],
    other_texts: str | Pair | Sequence[str | Pair] | None = None,
    match: Literal["auto", "index", "assignment"] = "auto",
    truncate: bool = False,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> Comparison:
    """Compare two models on texts, or (with one model) texts with other texts.

    Args:
        first, second: an analyzer, a name, a folder or ``(model, tokenizer)``; without ``second`` the same model.
        texts: what both read. Several texts give intervals.
        other_texts: what the second reads instead, one for each of ``texts``.
        match: how heads are paired; see :func:`.matching.match_heads`. Heads of one model pair with themselves.
        truncate: cut what a model has no positions for.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError: no texts, other texts of another number, or texts that have no word in common.
        ModelError: a model cannot be had.
    """
    one = loaded_of(first)
    two = one if second is None else loaded_of(second)
    pairs = _text_pairs(texts, other_texts)
    if second is None and other_texts is None:
        raise InputError("There is nothing to compare: give a second model, or other_texts.")

    def check(pair: tuple[str | Pair, str | Pair]) -> None:
        for model, text in zip((one, two), pair, strict=True):
            check_readable(model, text, truncate)

    usable = usable_texts(one, pairs, errors=errors, check=check)
    pairs = usable.texts
    fingerprints = (one.fingerprint, two.fingerprint)
    matching: Matching | None = None
    if one is not two and fingerprints[0] != fingerprints[1]:
        matching = match_heads(one, two, match)
    values: list[_OfText] = []
    steps = ProgressCounter(len(pairs), progress)
    kept: tuple[CapturedAttention, CapturedAttention] | None = None
    for text, other in pairs:
        left = record_texts(one, [text], truncate=truncate)[0]
        right = left if one is two and text == other else record_texts(two, [other], truncate=truncate)[0]
        kept = kept or (left, right)
        matching = matching or match_by_index(left, right)
        values.append(_of_text(left, right, matching, len(values)))
        steps.advance()
    assert matching is not None and kept is not None
    heads = _heads(matching, values)
    result = Comparison(
        names=_names(one, two, fingerprints),
        fingerprints=fingerprints,
        matching=matching,
        heads=heads.sort_values("divergence", ascending=False, kind="stable", ignore_index=True),
        layers=_layers(heads, values),
        tokens=pd.concat([each.tokens for each in values], ignore_index=True),
        texts=tuple(pairs),
        records=kept,
        unaligned=sum(each.unaligned for each in values),
    )
    return usable.noted(result)


@dataclass(frozen=True)
class _OfText:
    """One pair of texts: ``[pair of heads]`` divergence, ``[pair, change]`` of either side; tokens."""

    divergence: Floats
    before: Floats
    after: Floats
    tokens: pd.DataFrame
    unaligned: int


def _of_text(left: CapturedAttention, right: CapturedAttention, matching: Matching, number: int) -> _OfText:
    divergence, frames, unaligned = [], [], 0
    metrics = [metric for metric in METRICS if metric.name in CHANGES]
    tables = [head_table(record, metrics).set_index(_KEYS)[list(CHANGES)] for record in (left, right)]
    before, after = [], []
    for group, (other, pairs) in matching.pairs.items():
        here, there = entries_in(left, group), entries_in(right, other)
        queries, keys = align(here[0].queries, there[0].queries), align(here[0].keys, there[0].keys)
        if queries is not None and not queries:
            raise InputError(
                "The two texts have no word in common, so there is nothing to align; compare similar texts."
            )
        units = [None if part is None else _sides(part) for part in (queries, keys)]
        rows = [
            joined_rows([entry.weights for entry in entries], *(None if part is None else part[side] for part in units))
            for side, entries in enumerate((here, there))
        ]
        at = [{place: i for i, place in enumerate(places_in([e.site for e in entries]))} for entries in (here, there)]
        by_row = divergence_by_row(rows[0], rows[1], [(at[0][a], at[1][b]) for a, b in pairs]).double().numpy()
        divergence.append(by_row.mean(1))
        aligned = queries or [([i], [i]) for i in range(len(here[0].queries))]
        unaligned += len(here[0].queries) + len(there[0].queries) - sum(len(a) + len(b) for a, b in aligned)
        most = by_row.argmax(0)
        frames.append(
            pd.DataFrame(
                {
                    "text": number,
                    "stack": group[0],
                    "kind": group[1],
                    "position": [unit[0][0] for unit in aligned],
                    "token": ["".join(here[0].queries.pieces[i] for i in unit[0]) for unit in aligned],
                    "other_token": ["".join(there[0].queries.pieces[i] for i in unit[1]) for unit in aligned],
                    "divergence": by_row.mean(0),
                    "layer": [pairs[i][0][0] for i in most],
                    "head": [pairs[i][0][1] for i in most],
                }
            )
        )
        before.append(tables[0].loc[[(*group, *a) for a, _ in pairs]].to_numpy())
        after.append(tables[1].loc[[(*other, *b) for _, b in pairs]].to_numpy())
    return _OfText(
        np.concatenate(divergence),
        np.concatenate(before),
        np.concatenate(after),
        pd.concat(frames, ignore_index=True),
        unaligned,
    )


def _sides(units: Units) -> tuple[list[list[int]], list[list[int]]]:
    return [unit[0] for unit in units], [unit[1] for unit in units]


def _heads(matching: Matching, values: Sequence[_OfText]) -> pd.DataFrame:
    """One row per pair, in the order of the matching's pairs."""
    rows = [(*group, *place, *partner) for group, (_, pairs) in matching.pairs.items() for place, partner in pairs]
    table = pd.DataFrame(rows, columns=[*_KEYS, "other_layer", "other_head"])
    known = matching.table.set_index(_KEYS)["matched"]
    table["matched"] = [bool(known[place]) for place in table[_KEYS].itertuples(index=False, name=None)]
    by_text = np.stack([each.divergence for each in values])
    low, high = bootstrap_interval(by_text)
    table = table.assign(divergence=by_text.mean(0), low=low, high=high)
    for number, name in enumerate(CHANGES):
        before = np.stack([each.before[:, number] for each in values])
        change = np.stack([each.after[:, number] for each in values]) - before
        low, high = bootstrap_interval(change)
        columns = {"": _mean(before), "_change": _mean(change), "_low": low, "_high": high}
        table = table.assign(**{f"{name}{ending}": column for ending, column in columns.items()})
    return table


def _layers(heads: pd.DataFrame, values: Sequence[_OfText]) -> pd.DataFrame:
    rows = []
    for (stack, kind, layer), part in heads.groupby(_KEYS[:3], sort=False):
        by_text = np.stack([each.divergence[part.index].mean() for each in values])[:, None]
        low, high = bootstrap_interval(by_text)
        changes = part[[f"{name}_change" for name in CHANGES]].mean()
        rows.append(
            {"stack": stack, "kind": kind, "layer": layer, "divergence": by_text.mean(), "low": low[0], "high": high[0]}
            | changes.to_dict()
        )
    return pd.DataFrame(rows)


def _mean(values: Floats) -> Floats:
    """Mean over the texts that say something; NaN where none does."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.divide(np.nan_to_num(values).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)


def _text_pairs(
    texts: str | Pair | Sequence[str | Pair], others: str | Pair | Sequence[str | Pair] | None
) -> list[tuple[str | Pair, str | Pair]]:
    left = listed_texts(texts)
    right = left if others is None else listed_texts(others)
    if not left:
        raise InputError("No texts were given; at least one is needed.")
    if len(left) != len(right):
        raise InputError(f"{len(left)} texts were given, but {len(right)} other texts; they are compared in pairs.")
    return list(zip(left, right, strict=True))


def _names(one: LoadedModel, two: LoadedModel, fingerprints: tuple[str, str]) -> tuple[str, str]:
    """What the models are called; with a bit of their fingerprints where that is the same for both."""
    first, second = shown_name(one.name), shown_name(two.name)
    if first != second or one is two:
        return first, second
    if fingerprints[0] == fingerprints[1]:
        return first, f"{second} (the same)"
    return f"{first} ({fingerprints[0][:6]})", f"{second} ({fingerprints[1][:6]})"


def shown_name(name: str) -> str:
    """A model's name; of a long path its last two parts."""
    path = Path(name)
    return name if len(path.parts) <= 2 else "/".join(path.parts[-2:])
