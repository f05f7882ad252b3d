from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.weights.reductions import Statistics


class Copying(Pattern):
    """What a head writes when it reads a token raises that token's own logit above other tokens' (its OV circuit).

    The mean share of other tokens whose logits it raises less: 1/2 for a head that writes anything else, 1 for one that
    copies (Elhage et al. 2021; Olsson et al. 2022, who compare the raised logits themselves: ranks do not depend on how
    strongly a head writes). Where the head looks plays no part, so it is read from values, not from attention weights:
    see :mod:`.ov_copying`.
    """

    name = "copying"
    title = "copies the attended token (OV circuit)"
    has_chance = False

    def fitting(self, frame: TokenContext) -> None:
        """Never found in attention weights."""
        return

    def strength(self, results: Statistics) -> Tensor:
        raise NotImplementedError("Copying is read from values; see ov_copying.measure_copying.")


def own_ranks(logits: Tensor) -> Tensor:
    """Share of the others that each row's own column exceeds, equals counting half; NaN without others.

    Args:
        logits: ``[…, token, token]``, what reading the row's token does to the column's logit.

    Returns:
        ``[…, token]``.
    """
    own = logits.diagonal(dim1=-2, dim2=-1)[..., None]
    lower, equal = (logits < own).sum(-1), (logits == own).sum(-1) - 1
    return (lower + equal / 2) / (logits.shape[-1] - 1)
