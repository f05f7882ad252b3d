from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question, SiteGradient
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.propagation import walk_back


def positive_column_sum(at: SiteGradient, vector: Tensor) -> Tensor:
    """``Σ_i r_i mean_h relu(a_ij ∂L/∂a_ij)``: float64 ``[key]`` on the CPU.

    The output before its projection is ``o_i = Σ_j a_ij v_j``, so ``∂L/∂a_ij = ∂L/∂o_i · v_j``: exact under any
    backend, block by block, with memory linear in the text.
    """
    found = torch.zeros(at.weights.keys, dtype=torch.double)
    like = at.weights.empty()
    gradient, value, factors = (part.to(like) for part in (at.gradient, at.value, vector))
    with torch.no_grad():
        for block in at.weights.blocks():
            cells = torch.bmm(gradient[block.heads, block.rows], value[block.heads, block.keys].transpose(1, 2))
            cells.mul_(block.weights).clamp_(min=0)
            found[block.keys] += torch.matmul(factors[block.rows], cells).sum(0).double().cpu()
    return found / at.weights.heads


class GradientAttention(Attribution):
    """Gradient × attention: ``R ← R + mean_h relu(∇A ⊙ A) R`` over all layers (Chefer, Gur & Wolf 2021b, eq. 5 and 6).

    The row of ``R`` where the prediction is read, less what the prediction's own position has from the identity that
    ``R`` begins with. Of an encoder–decoder, cross-attention carries the same rule over to the source.
    """

    name = "gradient_attention"
    title = "gradient × attention"
    follows_target = True

    def find(self, question: Question) -> RawAttribution:
        def step(at: SiteGradient, vector: Tensor) -> tuple[Tensor, Tensor]:
            return vector, positive_column_sum(at, vector)

        vectors = walk_back(question.gradients, question.start, question.last_axis, step)
        found = vectors["source"]
        if question.last_axis == "source":
            found = (found - question.start.double()).clamp(min=0)
        return RawAttribution(found)
