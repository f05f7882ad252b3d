"""Programs as a study: one scan of any number of texts keeps sums, from which all heads' programs are fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.programs.evidence import RowCache, cross_of, gram_of, view_name
from attention_analyzer.programs.fit import Atoms, fit_head
from attention_analyzer.programs.program import Program
from attention_analyzer.programs.registry import RULES
from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.run.state import State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study, told_apart
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights

Floats = NDArray[np.float64]
#: One text at one layer: what it sees (see :func:`.evidence.layer_key`), its sums, and those that layers share.
_Part = tuple[str, dict[str, Any], dict[str, Any] | None]


@dataclass(frozen=True)
class FittedPrograms:
    """Every head's program.

    Attributes:
        programs: by site, one per head.
        texts: how many they were fitted on.
        model_name: of the model.
    """

    programs: dict[Site, tuple[Program, ...]]
    texts: int
    model_name: str = ""

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(self.programs)


class TextRules:
    """The rules' matrices of the texts of one batch, made once for all layers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._made: dict[tuple[str, Kind, int], RowCache] = {}

    def of(self, stack: str, kind: Kind, text: int, queries: Tokens, keys: Tokens, diagonal: int | None) -> RowCache:
        at = (stack, kind, text)
        if at not in self._made:
            self._made[at] = RowCache(RuleText.of(queries, keys, diagonal), self.rules)
        return self._made[at]


@dataclass(frozen=True)
class Programs(Study[FittedPrograms]):
    """Which rules, under which conditions, make up what each head does: fitted to all texts that the study sees.

    The state is sums of the sizes rules² and heads × rules (:mod:`.evidence`); no weights are kept. Fitted and scored
    on the same texts a program looks better than it is: :func:`.find.programs` scores it on others.
    """

    rules: Sequence[Rule] = RULES

    reads_weights: ClassVar[bool] = False

    @property
    def settings(self) -> str:
        return repr(("programs", [told_apart(rule) for rule in self.rules]))

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        texts, seen = TextRules(self.rules), set[tuple[str, int]]()

        def measure(stack: str, kind: Kind, weights: AttentionWeights) -> list[_Part]:
            queries, keys = prepared.axes(stack, kind)
            found = []
            for number, (own, other) in enumerate(zip(queries, keys, strict=True)):
                cache = texts.of(stack, kind, number, own, other, None if kind == "cross" else 0)
                alone = weights.select(number, slice(0, len(own)), slice(0, len(other)))
                found.append(_part(cache, f"{stack}|{kind}", alone, seen, number))
            return found

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is not None:
            return _state([(site, part) for site, parts in batch.sites for part in parts], len(batch.numbers))
        return State.merge([self.of_record(record) for record in batch.records])

    def of_record(self, record: CapturedAttention) -> State:
        """The state of one text."""
        texts, seen = TextRules(self.rules), set[tuple[str, int]]()
        parts = []
        for entry in record.entries:
            site = entry.site
            cache = texts.of(site.stack, site.kind, 0, entry.queries, entry.keys, entry.diagonal)
            parts.append((site, _part(cache, f"{site.stack}|{site.kind}", entry.weights, seen, 0)))
        return _state(parts, 1)

    def result(self, loaded: LoadedModel, state: State) -> FittedPrograms:
        return self.fitted(state, loaded.name)

    def fitted(self, state: State, model_name: str = "") -> FittedPrograms:
        """Every head's program."""
        atoms: dict[tuple[str, ...], Atoms] = {}
        found = {}

        def total(names: Iterable[str]) -> Floats:
            return np.sum([state.sums[name] for name in names], axis=0)

        for site in state.sites:
            # A layer may see different things in texts of different lengths, such as those shorter than its window.
            own = [name.split("/") for name in state.sums if name.startswith("cross/")]
            views = tuple(view for _, view, name in own if name == site.name)
            if views not in atoms:
                parts = (total(f"{what}/{view}" for view in views) for what in ("gram", "reach", "count"))
                atoms[views] = Atoms.of(*parts)
            cross = total(f"cross/{view}/{site.name}" for view in views)
            weight = total(f"total/{view}/{site.name}" for view in views).sum(0)
            heads = (fit_head(atoms[views], atoms[views].cross(cross[:, head]), float(weight[head]), tuple(self.rules))
                     for head in range(site.heads))  # fmt: skip
            found[site] = tuple(map(Program, heads))
        return FittedPrograms(found, state.texts, model_name)


def _part(cache: RowCache, place: str, weights: AttentionWeights, seen: set[tuple[str, int]], text: int) -> _Part:
    view = f"{place}|{view_name(weights.visibility)}"
    shared = None
    if (view, text) not in seen:
        seen.add((view, text))
        shared = gram_of(cache, weights.visibility)
    return view, cross_of(cache, weights), shared


def _state(parts: Iterable[tuple[Site, _Part]], texts: int) -> State:
    sums: dict[str, Any] = {}

    def add(name: str, values: Any) -> None:
        sums[name] = sums[name] + values.numpy() if name in sums else values.numpy()

    sites = []
    for site, (view, own, shared) in parts:
        sites.append(site)
        for name, values in own.items():
            add(f"{name}/{view}/{site.name}", values)
        for name, values in (shared or {}).items():
            add(f"{name}/{view}", values)
    return State(texts, tuple(dict.fromkeys(sites)), {}, sums)
