"""One record as a page would show it: axes of units, weights between them, what is hidden, what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.visible import label as label_of
from attention_analyzer.view.annotations import Annotations
from attention_analyzer.view.content import sinks_of
from attention_analyzer.view.downsample import coarse
from attention_analyzer.view.static_views.colors import CATEGORICAL, DARK, LIGHT, Theme
from attention_analyzer.view.token_content import token_content

Side = Literal["query", "key"]


@dataclass(frozen=True)
class Unit:
    """One row or column: a piece, or the pieces of a word."""

    tokens: tuple[int, ...]
    label: str
    special: bool


@dataclass(frozen=True)
class Screen:
    """A record and a checked state (see :mod:`.state`).

    Attributes:
        record: the record that is shown; ``other``: for the difference view, the second.
    """

    record: CapturedAttention
    state: dict[str, Any]
    other: CapturedAttention | None = None
    annotations: Annotations | None = None

    @property
    def theme(self) -> Theme:
        return DARK if self.state["theme"] == "dark" else LIGHT

    @property
    def entry(self) -> SiteRecord:
        return self.record.entry(name=self.state["site"])

    @property
    def several_places(self) -> bool:
        return len({(site.stack, site.kind) for site in self.record.sites}) > 1

    @property
    def head_name(self) -> str:
        site = self.entry.site
        place = f" · {site.stack} {site.kind}-attention" if self.several_places else ""
        return f"L{site.layer}H{self.state['head']}{place}"

    def head_color(self, index: int) -> str:
        colors = CATEGORICAL[int(self.theme.dark)]
        return colors[index % len(colors)]

    def tokens(self, side: Side) -> Tokens:
        return self.entry.queries if side == "query" else self.entry.keys

    @cached_property
    def sinks(self) -> frozenset[int]:
        """Keys that most heads of a layer with these keys rest on."""
        alike = [entry for entry in self.record.entries if entry.keys == self.entry.keys]
        return frozenset().union(*(sinks_of(coarse(entry.weights)) for entry in alike))

    def units(self, side: Side) -> list[Unit]:
        """The units of an axis that are not hidden."""
        tokens = self.tokens(side)
        words = tokens.words if self.state["units"] == "words" else (None,) * len(tokens)
        surfaces = token_content(tokens)["surfaces"] if self.state["units"] == "words" else tokens.pieces
        found: list[Unit] = []
        for token, word in enumerate(words):
            special = bool(tokens.is_special[token])
            if self.is_hidden(side, token):
                continue
            if found and word is not None and words[found[-1].tokens[0]] == word:
                parts = (*found[-1].tokens, token)
                found[-1] = Unit(parts, label_of("".join(surfaces[part] for part in parts)), False)
            else:
                found.append(Unit((token,), label_of(tokens.pieces[token].strip() or tokens.pieces[token]), special))
        return found

    def is_hidden(self, side: Side, token: int) -> bool:
        """A sink is a key that heads rest on; as a query it is a token like any other."""
        if self.state["hideSpecial"] and self.tokens(side).is_special[token]:
            return True
        return side == "key" and self.state["hideSinks"] and token in self.sinks

    def place_of(self, side: Side, token: int | None) -> int | None:
        """The unit that a token is part of; None where it is hidden or no token is given."""
        places = (place for place, unit in enumerate(self.units(side)) if token in unit.tokens)
        return None if token is None else next(places, None)

    def weights(
        self,
        rows: Sequence[Unit] | None = None,
        cols: Sequence[Unit] | None = None,
        *,
        site: str | None = None,
        head: int | None = None,
    ) -> np.ndarray:
        """``[row unit, column unit]``: weight that the queries of a unit put on all keys of another, on average."""
        rows = self.units("query") if rows is None else rows
        cols = self.units("key") if cols is None else cols
        entry = self.entry if site is None else self.record.entry(name=site)
        lazy = entry.weights
        kept = torch.tensor([not self.is_hidden("key", token) for token in range(lazy.keys)])
        where = torch.zeros(lazy.keys, len(cols))
        for number, unit in enumerate(cols):
            where[list(unit.tokens), number] = 1
        result = torch.zeros(len(rows), len(cols))
        chosen = self.state["head"] if head is None else head
        for number, unit in enumerate(rows):
            tile = lazy[chosen, unit.tokens[0] : unit.tokens[-1] + 1].float().cpu()
            tile = tile[[token - unit.tokens[0] for token in unit.tokens]]
            if self.state["renormalise"]:
                tile = tile / (tile * kept).sum(-1, keepdim=True).clamp(min=1e-30)
            result[number] = (tile @ where).mean(0)
        return result.numpy()

    @property
    def selection_text(self) -> str:
        """What is chosen, as the line at the foot of a page says it."""
        parts = [self.head_name]
        for side in ("query", "key"):
            token = self.state[side]
            if token is not None:
                parts.append(f"{side} “{label_of(self.tokens(side).pieces[token])}” ({token})")
        return " · ".join(parts)

    @property
    def hidden_text(self) -> str:
        """What is left out, and what that does to the numbers; empty where nothing is."""
        state = self.state
        if state["view"] in ("heads", "products") or not (state["hideSpecial"] or state["hideSinks"]):
            return ""
        sides: tuple[Side, ...] = ("key",) if self.tokens("query") == self.tokens("key") else ("key", "query")
        special = sum(sum(self.tokens(side).is_special) for side in sides) if state["hideSpecial"] else 0
        sinks = [
            token
            for token in (sorted(self.sinks) if state["hideSinks"] and state["view"] != "difference" else ())
            if not (state["hideSpecial"] and self.tokens("key").is_special[token])
        ]
        parts = [f"{special} special token{'s' * (special != 1)}"] if special else []
        parts += [f"{len(sinks)} sink{'s' * (len(sinks) != 1)} among the keys"] if sinks else []
        if not parts:
            return "Nothing hidden: this text has no such tokens."
        renormalized = state["renormalise"] and state["view"] != "difference"
        sums = "the rest renormalized to sum to 1" if renormalized else "weights not renormalized"
        return f"Hidden: {' and '.join(parts)}; {sums}."
