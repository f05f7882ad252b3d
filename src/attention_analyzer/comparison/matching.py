"""Which head of one model stands for which head of another.

Heads of a model and of its fine-tuned, quantized or later self correspond by their place. Otherwise heads are paired so
that the sum of their Jensen–Shannon divergences is the smallest there is (optimal assignment), on sentences that are
always the same. Some pairing always comes out, and heads that look at the same positions with the same sharpness are
always close; so each pair is held against itself while the second model reads the same tokens in another order. How
much closer reading the same order brings the two is their gain. What gain comes by chance is told by pairing in the
same way where the orders differ; a pair counts as matched when its gain is beyond that (5 % false matches).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.comparison.inputs import Place, entries_in, joined_rows, paired_groups, places_in
from attention_analyzer.errors import InputError, MissingDependencyError
from attention_analyzer.hooks.forward import CapturedForward
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import run
from attention_analyzer.stats import benjamini_hochberg
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.divergence import Rows, divergence_of_all

Floats = NDArray[np.float64]
Method = Literal["index", "assignment"]
#: Sentences of different build; no training text of a bundled model has them.
SENTENCES = (
    "The old teacher gave the youngest student a red book, and she read it twice before dinner.",
    "When winter came, nobody in the village knew how long the frozen lake would carry the heavy carts.",
    "She sold seven small boats last year; two of them sank, but the other five still sail every summer.",
    "Why did the doctor, who had never been late, forget the key to her own house that morning?",
    "Copper is softer than iron, yet people used it for tools long before they learned to melt iron ore.",
    "His brother wanted to leave at once, because the train to the north runs only three times a week.",
)
#: Heads that correspond by their place must be closer than this share of random pairings are.
_RANDOM = 0.01
_DRAWS = 999
#: Other orders of each sentence.
_ORDERS = 5
#: The expected share of false matches.
LEVEL = 0.05


@dataclass(frozen=True)
class Matching:
    """Pairs of heads.

    Attributes:
        method: "index": heads of the same place; "assignment": the closest pairing.
        table: one row per head of the first model: ``stack, kind, layer, head``, its partner ``other_stack, other_kind,
            other_layer, other_head`` (missing where the second model has fewer heads), and, on the sentences of this
            room, their ``divergence`` in nats, what it is when the second reads other orders (``unrelated``),
            ``gain = 1 - divergence / unrelated``, ``p`` (one-sided) and ``matched``. By index every pair is matched,
            and ``closest`` says whether no other head of the second model is closer.
    """

    method: Method
    table: pd.DataFrame = field(repr=False)

    @property
    def pairs(self) -> dict[tuple[str, str], tuple[tuple[str, str], list[tuple[Place, Place]]]]:
        """Group of the first model to the group of the second and the pairs of places."""
        found: dict[tuple[str, str], tuple[tuple[str, str], list[tuple[Place, Place]]]] = {}
        known = self.table[self.table["other_head"].notna()]
        for row in known.itertuples(index=False):
            group = found.setdefault((row.stack, row.kind), ((row.other_stack, row.other_kind), []))
            group[1].append(((row.layer, row.head), (int(row.other_layer), int(row.other_head))))
        return found


def match_by_index(first: CapturedAttention, second: CapturedAttention) -> Matching:
    """Heads of the same place, wherever both models have one."""
    rows = []
    for left, right in paired_groups(first.sites, second.sites):
        there = set(places_in([entry.site for entry in entries_in(second, right)]))
        rows += [
            (*left, *place, *right, *place)
            for place in places_in([entry.site for entry in entries_in(first, left)])
            if place in there
        ]
    table = pd.DataFrame(rows, columns=_KEYS).assign(
        divergence=np.nan, unrelated=np.nan, gain=np.nan, p=np.nan, matched=True, closest=True
    )
    return Matching("index", _typed(table))


def match_heads(first: LoadedModel, second: LoadedModel, method: Method | Literal["auto"] = "auto") -> Matching:
    """Pairs of heads of two models.

    Args:
        method: "auto" pairs by index where both models have the same places and heads of the same place are closer than
            in 99 % of random pairings, else by assignment.

    Raises:
        InputError: "index" was asked for, but the models have no place in common.
        ModelError: a model has no tokenizer.
    """
    here, there = _Readings(first), _Readings(second, orders=_ORDERS)
    parts = [
        _Group(left, right, here.places(left), there.places(right), *_divergences(here, there, left, right))
        for left, right in paired_groups(here.sites, there.sites)
    ]
    chosen = method if method != "auto" else ("index" if all(part.by_place() for part in parts) else "assignment")
    table = pd.concat([part.table(chosen) for part in parts], ignore_index=True)
    if table.empty:
        raise InputError("The models have no layer and head in common; match their heads by assignment.")
    return Matching(chosen, _typed(table))


_KEYS = ["stack", "kind", "layer", "head", "other_stack", "other_kind", "other_layer", "other_head"]


@dataclass(frozen=True)
class _Group:
    """Divergences of all heads of two groups, ``[head, other]``, in the same order and in several other ones."""

    left: tuple[str, str]
    right: tuple[str, str]
    places: list[Place]
    others: list[Place]
    same: Floats
    unrelated: list[Floats]

    def by_place(self) -> bool:
        """Whether heads of one place are closer than heads that are paired at random."""
        if self.places != self.others:
            return False
        if len(self.places) < 2:
            return True
        draw = np.random.default_rng(0)
        own = np.diagonal(self.same).mean()
        number = np.arange(len(self.places))
        random = [self.same[number, draw.permutation(number)].mean() for _ in range(_DRAWS)]
        return bool(own <= np.quantile(random, _RANDOM))

    def table(self, method: Method) -> pd.DataFrame:
        rows, columns = self._by_index() if method == "index" else _assigned(self.same)
        if not len(rows):
            return pd.DataFrame(columns=[*_KEYS, "divergence", "unrelated", "gain", "p", "matched", "closest"])
        own = self.same[rows, columns]
        unrelated = np.mean([other[rows, columns] for other in self.unrelated], axis=0)
        gain = _gain(own, unrelated)
        chance = np.concatenate([self._gain_by_chance(number, method) for number in range(len(self.unrelated))])
        p = (1 + (chance[None] >= gain[:, None]).sum(1)) / (1 + len(chance))
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        found = pd.DataFrame([(*self.left, *self.places[i], *self.right, *self.others[j]) for i, j in pairs])
        found.columns = _KEYS
        matched = np.ones(len(own), bool) if method == "index" else benjamini_hochberg(p) <= LEVEL
        closest = own <= self.same.min(1)[rows] + 1e-12
        found = found.assign(divergence=own, unrelated=unrelated, gain=gain, p=p, matched=matched, closest=closest)
        alone = [place for i, place in enumerate(self.places) if i not in set(rows.tolist())]
        if method == "assignment" and alone:
            left_over = pd.DataFrame([(*self.left, *place, *self.right, None, None) for place in alone], columns=_KEYS)
            found = pd.concat([found, left_over.assign(matched=False, closest=False)], ignore_index=True)
        return found

    def _by_index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        at = {place: number for number, place in enumerate(self.others)}
        pairs = [(number, at[place]) for number, place in enumerate(self.places) if place in at]
        return np.array([i for i, _ in pairs], int), np.array([j for _, j in pairs], int)

    def _gain_by_chance(self, number: int, method: Method) -> Floats:
        """Gains of pairs that are chosen in one other order, against the remaining orders."""
        chosen = self.unrelated[number]
        rows, columns = self._by_index() if method == "index" else _assigned(chosen)
        rest = [other[rows, columns] for i, other in enumerate(self.unrelated) if i != number]
        return _gain(chosen[rows, columns], np.mean(rest, axis=0))


class _Readings:
    """A model on every sentence, as it stands and in other orders."""

    def __init__(self, loaded: LoadedModel, orders: int = 0) -> None:
        self.read = [_reordered(loaded, prepare(loaded, [text]), orders) for text in SENTENCES]
        self.sites = [site for site, _ in self.read[0][1].sites]

    def places(self, group: tuple[str, str]) -> list[Place]:
        return places_in([site for site in self.sites if (site.stack, site.kind) == group])

    def words(self, text: int, group: tuple[str, str]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Positions of each word of a sentence among a group's queries and keys, as it stands."""
        queries, keys = self.read[text][0].axes(group[0], "cross" if group[1] == "cross" else "self")
        return _positions(queries[0]), _positions(keys[0])

    def rows(self, text: int, group: tuple[str, str], order: int, words: list[list[int]]) -> Rows:
        weights = [
            each.select(order, slice(0, each.queries), slice(0, each.keys))
            for site, each in self.read[text][1].sites
            if (site.stack, site.kind) == group
        ]
        queries, keys = self.words(text, group)
        return joined_rows(weights, [queries[word] for word in words[0]], [keys[word] for word in words[1]])


def _reordered(loaded: LoadedModel, prepared: Prepared, orders: int) -> tuple[Prepared, CapturedForward[Any]]:
    """One forward of a sentence and of its other orders; special tokens stay where they are."""
    draw = np.random.default_rng(0)
    inputs = {name: value.repeat_interleave(orders + 1, 0) for name, value in prepared.inputs.items()}
    for name, tokens in (("input_ids", prepared.source[0]), ("decoder_input_ids", (prepared.target or (None,))[0])):
        if name in inputs and tokens is not None:
            free = np.flatnonzero(~np.array(tokens.is_special))
            for row in range(1, orders + 1):
                inputs[name][row, free] = inputs[name][row, draw.permutation(free)]
    times = orders + 1
    target = None if prepared.target is None else prepared.target * times
    several = Prepared(inputs, prepared.source * times, target)
    return several, run(loaded, several)


def _positions(tokens: Tokens) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for index, word in enumerate(tokens.words):
        if word is not None:
            found.setdefault(word, []).append(index)
    return found


def _divergences(
    here: _Readings, there: _Readings, left: tuple[str, str], right: tuple[str, str]
) -> tuple[Floats, list[Floats]]:
    """Mean over the sentences, word by word: where both read them as they stand, and for each other order."""
    totals = [np.zeros((len(here.places(left)), len(there.places(right)))) for _ in range(_ORDERS + 1)]
    for text in range(len(SENTENCES)):
        pairs = zip(here.words(text, left), there.words(text, right), strict=True)
        words = [sorted(own.keys() & other.keys()) for own, other in pairs]
        if not all(words):
            raise InputError(f"The two models share no word of the sentence {SENTENCES[text]!r}.")
        rows = here.rows(text, left, 0, words)
        for order, total in enumerate(totals):
            total += divergence_of_all(rows, there.rows(text, right, order, words)).numpy()
    means = [total / len(SENTENCES) for total in totals]
    return means[0], means[1:]


def _assigned(cost: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingDependencyError("scipy", "cluster", "Matching heads by assignment") from None
    rows, columns = linear_sum_assignment(cost)
    return np.asarray(rows), np.asarray(columns)


def _gain(own: Floats, unrelated: Floats) -> Floats:
    return 1 - np.divide(own, unrelated, out=np.ones_like(own), where=unrelated > 1e-9)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(dict.fromkeys(("other_layer", "other_head"), "Int64") | {"matched": bool, "closest": bool})
