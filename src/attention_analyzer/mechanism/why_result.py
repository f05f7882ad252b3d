"""Why a head looked at a key, as a result that prints, has tables and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from attention_analyzer.result import Result


@dataclass(frozen=True, repr=False)
class Why(Result):
    """One attention score, split into what components wrote at the query's position and at the key's.

    Attributes:
        table: ``[query component, key component]``, what each pair adds to the score; the cells sum to it. The
            component "token embedding" is the token itself; a head or MLP is what it wrote at that position.
        sources: what heads of either side brought from which position: ``side, component, position, token, score``.
            For each side and head the rows sum to its row or column in :attr:`table`.
        score: ``scale · q · k``, before a soft cap and a position bias; ``deviation``: how far the cells' sum is off.
        bias: what a position bias (ALiBi, T5) adds; rotary positions are part of the cells.
        weight: the attention weight that came of it, after the softmax over all keys.
        head: such as ``L2H5``; ``query, key``: the two positions, and ``query_token, key_token`` what stands there.
    """

    table: pd.DataFrame = field(compare=False)
    sources: pd.DataFrame = field(compare=False)
    score: float
    deviation: float
    bias: float
    weight: float
    head: str
    query: int
    key: int
    query_token: str
    key_token: str
    model_name: str = ""

    def facts(self) -> tuple[str, ...]:
        top = self.to_frame().head(2)
        pairs = ", ".join(f"{row.query_component} × {row.key_component} {row.score:+.3f}" for row in top.itertuples())
        bias = f", position bias {self.bias:+.3f}" if self.bias else ""
        looks = f"{self.head}: {self.query_token!r} at {self.query} looks at {self.key_token!r} at {self.key}: score"
        return (
            f"{looks} {self.score:.4f}{bias}, weight {self.weight:.1%}; sum of parts within {self.deviation:.1e}",
            f"largest parts (query side × key side): {pairs}",
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per pair of components, the largest parts first: ``query_component, key_component, score``."""
        long = self.table.stack().rename("score").rename_axis(["query_component", "key_component"]).reset_index()
        order = long["score"].abs().sort_values(ascending=False, kind="stable").index
        return long.loc[order].reset_index(drop=True)

    def by_component(self) -> pd.DataFrame:
        """What each component adds on the query side and on the key side: ``component, query, key``.

        Each of the two columns sums to the score.
        """
        sides = pd.DataFrame({"query": self.table.sum(axis=1), "key": self.table.sum(axis=0)}).fillna(0.0)
        return sides.rename_axis("component").reset_index()
