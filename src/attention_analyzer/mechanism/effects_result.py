"""What the parts of a model add to a logit, as a result that prints, has tables and is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd
from torch import Tensor

from attention_analyzer.errors import SelectionError
from attention_analyzer.result import Result
from attention_analyzer.site import from_end
from attention_analyzer.text.tokens import Tokens


@dataclass(frozen=True, repr=False)
class Effects(Result):
    """Direct effects on one logit, or on a contrast of two.

    Attributes:
        rows: one row per head, MLP, embedding and bias: ``kind, component, stack, attention, layer, head, effect``.
            Effects are in the unit of logits and sum to :attr:`logit`.
        sources: of each head, by its site's name and its number, the effect that it moved from every source token,
            float32 ``[key]``; they sum to the head's effect.
        logit: what is explained; ``deviation``: how far the sum of all effects is from it.
        target, versus: the token whose logit it is, and the one whose logit is subtracted (None: none).
        position: where the prediction was read.
        tokens: at whose positions the model predicts; ``keys``: the source tokens of each site.
        held: what was held at its value so that the model is a sum: always "norms"; after the last layer also
            activation functions, by name (a soft cap is "tanh").
    """

    rows: pd.DataFrame = field(compare=False)
    sources: Mapping[tuple[str, int], Tensor] = field(compare=False)
    logit: float
    deviation: float
    target: str
    versus: str | None
    position: int
    tokens: Tokens = field(compare=False)
    keys: Mapping[str, Tokens] = field(compare=False)
    held: tuple[str, ...] = ("norms",)
    model_name: str = ""

    views: ClassVar[tuple[str, ...]] = ("heads",)

    @property
    def what(self) -> str:
        """The number that is explained, in words."""
        of = f"{self.target!r}" if self.versus is None else f"{self.target!r} over {self.versus!r}"
        return f"logit of {of} at {self.position} ({self.tokens.pieces[self.position]!r})"

    def facts(self) -> tuple[str, ...]:
        heads = self.heads().head(3)
        named = ", ".join(f"{row.component} {row.effect:+.3f}" for row in heads.itertuples())
        return (
            f"{self.what}: {self.logit:.4f}; effects sum to it within {self.deviation:.1e}",
            f"heads with the largest effect: {named}",
            f"held at their values: {', '.join(self.held)}",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`rows`, the largest effects first."""
        order = self.rows["effect"].abs().sort_values(ascending=False, kind="stable").index
        return self.rows.loc[order].reset_index(drop=True)

    def heads(self) -> pd.DataFrame:
        """The rows of heads, the largest effects first."""
        frame = self.to_frame()
        return frame[frame["kind"] == "head"].reset_index(drop=True)

    def by_source(self, layer: int, head: int, *, stack: str | None = None, kind: str = "self") -> pd.DataFrame:
        """What a head moved from every source token: ``position, token, effect``; negative numbers count from the end.

        Raises:
            SelectionError: there is no such head.
        """
        heads = []
        for site, number in self.sources:
            at_stack, at_kind, at_layer = site.rsplit(".", 2)
            if at_kind == kind and stack in (None, at_stack):
                heads.append((int(at_layer), number, site))
        layers, numbers = [at for at, _, _ in heads], [number for _, number, _ in heads]
        wanted = from_end(layer, 1 + max(layers, default=0)), from_end(head, 1 + max(numbers, default=0))
        for at, number, site in heads:
            if (at, number) == wanted:
                values = self.sources[site, number]
                pieces = self.keys[site].pieces
                return pd.DataFrame({"position": range(len(pieces)), "token": pieces, "effect": values.numpy()})
        known = ", ".join(dict.fromkeys(site for site, _ in self.sources))
        raise SelectionError(f"There is no head L{layer}H{head} here; heads that reach the logit are in {known}.")
