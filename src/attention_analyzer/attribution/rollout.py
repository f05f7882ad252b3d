"""Attention rollout (Abnar & Zuidema 2020, §2) and the variants that go by its name.

Where the rows of all weights sum to one and there is one stack, they all give the same shares: ``A + I`` is
``2 (½ A + ½ I)``, with its rows normalized or not. They differ where a sink takes part of a row, across two stacks, and
in what is done about a decoder's first tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question, SiteWeights
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.propagation import column_sum, is_causal, uniform, walk_back
from attention_analyzer.weights.reductions import TotalWeight

Residual = Literal["half", "normalized", "sum"]


def rolled_out(sites: tuple[SiteWeights, ...], question: Question, residual: Residual) -> tuple[Tensor, float]:
    """``[token]`` of the source, and the part that stays on an encoder–decoder's target."""

    def step(at: SiteWeights, vector: Tensor) -> tuple[Tensor, Tensor]:
        if residual == "normalized":
            totals = at.weights.reduce([TotalWeight()])[TotalWeight()][0].double().mean(0).nan_to_num(0).cpu()
            vector = vector / (1 + totals)
        elif residual == "half":
            vector = vector / 2
        return vector, column_sum(at.weights, vector).mean(0)

    vectors = walk_back(sites, question.start, question.last_axis, step)
    whole = sum(float(vector.sum()) for vector in vectors.values())
    on_target = float(vectors["target"].sum()) / whole if "target" in vectors else 0.0
    return vectors.get("source", torch.zeros(len(question.tokens), dtype=torch.double)), on_target


@dataclass(frozen=True)
class Rollout(Attribution):
    """Heads averaged, ``½ A + ½ I`` for attention and residual, layers multiplied: what reaches the prediction.

    In a causal model early tokens are seen by more queries, and rollout is biased towards them; the authors ask that it
    be normalized by the receptive field first (§5), without a formula. Here each token's share is divided by the share
    it would have if every query looked at all it sees alike: a model that does so gives every token the same score.
    """

    name: ClassVar[str] = "rollout"
    title: ClassVar[str] = "attention rollout"
    residual: ClassVar[Residual] = "half"
    by_receptive_field: ClassVar[bool] = True

    def find(self, question: Question) -> RawAttribution:
        found, on_target = rolled_out(question.sites, question, self.residual)
        notes: dict[str, object] = {}
        if question.last_axis == "target":
            notes["share_on_target"] = on_target
        causal = [at for at in question.sites if at.keys == "source" and is_causal(at)]
        if causal and self.by_receptive_field:
            alike = tuple(replace(at, weights=uniform(at.weights)) for at in question.sites)
            expected, _ = rolled_out(alike, question, self.residual)
            seen = expected > 0
            found = torch.where(seen, found / expected.where(seen, torch.ones(())), 0)
            notes["receptive_field"] = "divided by the rollout of uniform attention"
        return RawAttribution(found, notes)


@dataclass(frozen=True)
class UnadjustedRollout(Rollout):
    """Rollout as it is, without regard to how many queries see a token."""

    name: ClassVar[str] = "rollout_unadjusted"
    title: ClassVar[str] = "attention rollout, not adjusted for the receptive field"
    by_receptive_field: ClassVar[bool] = False


@dataclass(frozen=True)
class NormalizedRollout(Rollout):
    """``A + I`` with rows normalized to one, as in many implementations: a sink's share goes to the other keys."""

    name: ClassVar[str] = "rollout_normalized"
    title: ClassVar[str] = "attention rollout, rows of A + I normalized"
    residual: ClassVar[Residual] = "normalized"
    by_receptive_field: ClassVar[bool] = False


@dataclass(frozen=True)
class ChefersRollout(Rollout):
    """``A + I`` without normalization, as in the code released with Chefer et al. 2021."""

    name: ClassVar[str] = "rollout_chefer"
    title: ClassVar[str] = "attention rollout, A + I not normalized"
    residual: ClassVar[Residual] = "sum"
    by_receptive_field: ClassVar[bool] = False
