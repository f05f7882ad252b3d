"""What a head writes for every token it could read, as a result that prints, has a table and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from attention_analyzer.result import Result
from attention_analyzer.text.tokens import Tokens


@dataclass(frozen=True, repr=False)
class HeadWrites(Result):
    """The tokens that a head promotes for each source token, if it reads that token alone.

    Attributes:
        table: one row per source token: ``position, token, weight`` (what the head gives it where the prediction is
            read); ``promoted`` and ``suppressed``, the tokens whose logits rise and fall most, and ``promoted_by`` and
            ``suppressed_by``, by how much the first of them does, in logits above the mean of the vocabulary; ``own``,
            the same of the source token itself, and ``own_rank``, the fraction of the vocabulary below it.
        copying: mean ``own_rank``; ``control``: that of the text's other tokens; special tokens are left out.
        interval: 95 % interval of the difference, over source tokens.
        head: such as ``L2H5``; ``position``: where the prediction is read.
    """

    table: pd.DataFrame = field(compare=False)
    copying: float
    control: float
    interval: tuple[float, float]
    head: str
    position: int
    tokens: Tokens = field(compare=False)
    model_name: str = ""

    def facts(self) -> tuple[str, ...]:
        row = self.table.loc[self.table["weight"].idxmax()]
        low, high = self.interval
        reads = f"{self.head} at {self.position} reads {row['token']!r} most ({row['weight']:.0%})"
        own = f"copying: a token's own logit is above {self.copying:.0%} of the vocabulary"
        return (
            f"{reads}, which promotes {', '.join(map(repr, row['promoted'][:3]))}",
            f"{own}, other tokens' of the text above {self.control:.0%}; difference [{low:+.2f}, {high:+.2f}]",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`, with the named tokens as one text."""
        joined = {name: self.table[name].map("  ".join) for name in ("promoted", "suppressed")}
        return self.table.assign(**joined)
