"""From what a caller asks to what is done to each head of each site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError
from attention_analyzer.external.given_weights import record_from_weights
from attention_analyzer.interventions.apply import Plan
from attention_analyzer.interventions.call_index import CallIndex
from attention_analyzer.interventions.edges import Edges, KnockOut, edges_of
from attention_analyzer.interventions.edits import FirstKey, Given, HeadChange, Pattern, Uniform
from attention_analyzer.interventions.means import MeanOutputs
from attention_analyzer.interventions.selection import Head, Selector, head_name, select_heads
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import record_texts
from attention_analyzer.text.tokens import Tokens

#: What an ablated head gives to every query: nothing, or its mean output.
Ablation = Literal["zero", "mean"]
#: A head's other pattern: by name, another text of the same length (or a record of it), or weights ``[query, key]``.
Replacement = str | tuple[str, str] | CapturedAttention | Tensor
#: Which heads use which other pattern.
Replacements = Mapping[str, Replacement] | Mapping[tuple[int, int], Replacement] | Mapping[Selector, Replacement]
PATTERNS: Mapping[str, Pattern] = {"uniform": Uniform(), "first": FirstKey()}


@dataclass(frozen=True)
class Request:
    """What is to be changed; see :func:`.what_if.what_if` for each part."""

    knock_out: tuple[KnockOut, ...] = ()
    ablate: tuple[Selector, ...] = ()
    patch: tuple[tuple[Selector, Replacement], ...] = ()
    ablation: Ablation = "zero"

    @classmethod
    def of(
        cls,
        knock_out: str | KnockOut | Iterable[str | KnockOut] = (),
        ablate: Selector | Iterable[Selector] = (),
        patch: Replacements | None = None,
        ablation: Ablation = "zero",
    ) -> Request:
        """Read a caller's arguments.

        Raises:
            InputError: one of them has another form.
        """
        if ablation not in ("zero", "mean"):
            raise InputError(f"Heads are ablated with 'zero' or 'mean', not {ablation!r}.")
        edges = (knock_out,) if isinstance(knock_out, (str, KnockOut)) else tuple(knock_out)
        one = isinstance(ablate, str) or (isinstance(ablate, tuple) and all(isinstance(n, int) for n in ablate))
        heads = ((ablate,) if ablate else ()) if one else tuple(ablate)
        for head in heads:
            if not isinstance(head, str) and not (isinstance(head, tuple) and len(head) == 2):
                raise InputError(f"A head is ablated by its name ('L2H5') or as (layer, head), not {head!r}.")
        given = tuple((patch or {}).items())
        return cls(tuple(KnockOut.of(edge) for edge in edges), heads, given, ablation)  # type: ignore[arg-type]

    @property
    def described(self) -> str:
        """In words, such as ``L2H5:7>3 knocked out; L1H0 ablated``."""
        parts = []
        if self.knock_out:
            parts.append(f"{', '.join(map(str, self.knock_out))} knocked out")
        if self.ablate:
            how = " (by the mean)" if self.ablation == "mean" else ""
            parts.append(f"{', '.join(map(_named, self.ablate))} ablated{how}")
        for selector, replacement in self.patch:
            parts.append(f"{_named(selector)} {_words(replacement)}")
        return "; ".join(parts) or "nothing changed"


def plan_of(request: Request, order: CallIndex, loaded: LoadedModel, means: MeanOutputs | None) -> Plan:
    """What is done to each head.

    Args:
        means: the heads' mean outputs, where heads are ablated by them.

    Raises:
        InputError: a head has more than one kind of change, or a pattern does not fit.
        SelectionError: a head or position is not there.
    """
    plan = _Plan(order)
    edges: dict[tuple[str, int], list[Edges]] = {}
    for knock_out in request.knock_out:
        for site, head in select_heads(knock_out.heads, order.sites):
            queries, keys = order.shapes[site.name]
            edges.setdefault((site.name, head), []).append(edges_of(knock_out, queries, keys))
    for site in order.sites:
        for head in range(site.heads):
            if (site.name, head) in edges:
                plan.put((site, head), HeadChange(edges=tuple(edges[site.name, head])))
    for site, head in select_heads(request.ablate, order.sites):
        output = torch.zeros(()) if means is None else means.of(site, head)
        plan.put((site, head), HeadChange(output=output))
    for selector, replacement in request.patch:
        patterns = _Patterns(replacement, order, loaded)
        for head_ in select_heads(selector, order.sites):
            plan.put(head_, HeadChange(pattern=patterns.of(head_)))
    return plan.changes


class _Plan:
    def __init__(self, order: CallIndex) -> None:
        self.order = order
        self.changes: dict[str, dict[int, HeadChange]] = {}

    def put(self, head: Head, change: HeadChange) -> None:
        of_site = self.changes.setdefault(head[0].name, {})
        if head[1] in of_site:
            raise InputError(
                f"{head_name(head, self.order.sites)} has conflicting interventions; choose one of knockout, "
                "ablation or a replaced pattern per head."
            )
        of_site[head[1]] = change


@dataclass
class _Patterns:
    """The patterns that one replacement gives to heads; another text is read once."""

    replacement: Replacement
    order: CallIndex
    loaded: LoadedModel
    _record: CapturedAttention | None = None

    def of(self, head: Head) -> Pattern:
        if isinstance(self.replacement, str) and self.replacement in PATTERNS:
            return PATTERNS[self.replacement]
        site, number = head
        queries, keys = self.order.shapes[site.name]
        if isinstance(self.replacement, Tensor) or hasattr(self.replacement, "__array__"):
            sizes = (Tokens.positions(queries), Tokens.positions(keys))
            weights = torch.as_tensor(self.replacement)
            record = record_from_weights([weights[None]], sizes[0], key_tokens=sizes[1], partial_rows=True)
            return Given(record.entries[0].weights, 0)
        weights_of_site = self._other().entry(name=site.name).weights
        if weights_of_site.shape[1:] != (queries, keys):
            raise InputError(
                f"The other text gives {site.name} {weights_of_site.queries} queries and {weights_of_site.keys} keys, "
                f"but this one {queries} and {keys}; a pattern can only come from a text of the same length in tokens."
            )
        return Given(weights_of_site, number)

    def _other(self) -> CapturedAttention:
        if self._record is None:
            other = self.replacement
            if isinstance(other, CapturedAttention):
                self._record = other
            elif isinstance(other, (str, tuple)):
                self._record = record_texts(self.loaded, [other])[0]
            else:
                raise InputError(
                    f"A head's pattern is replaced by {', '.join(map(repr, PATTERNS))}, a text, a record or an array, "
                    f"not by {type(other).__name__}."
                )
        return self._record


def _named(selector: Any) -> str:
    return selector if isinstance(selector, str) else f"L{selector[0]}H{selector[1]}"


def _words(replacement: Replacement) -> str:
    if isinstance(replacement, str) and replacement in PATTERNS:
        return {"uniform": "attends uniformly", "first": "looks at the first token only"}[replacement]
    if isinstance(replacement, (str, tuple)):
        shown = replacement if isinstance(replacement, str) else " / ".join(replacement)
        return f"looks as in {shown[:40]!r}"
    return "has another pattern"
