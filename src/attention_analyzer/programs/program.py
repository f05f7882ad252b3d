"""A head's program: a sparse mixture of rules with conditions, and the sentence that says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.conditions import CONDITION_OF
from attention_analyzer.programs.registry import RULE_OF
from attention_analyzer.programs.rule import Rule


@dataclass(frozen=True)
class Term:
    """Where the condition holds and the rule has a target, that gets this share of a query's weight."""

    condition: str
    rule: str
    weight: float


@dataclass(frozen=True)
class Program:
    """What a head does, as terms. What they leave of a query's weight is spread evenly over all that it sees."""

    terms: tuple[Term, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that it has, each once."""
        return tuple(RULE_OF[name] for name in dict.fromkeys(term.rule for term in self.terms))

    def weights(self, cells: Tensor, names: Sequence[str]) -> Tensor:
        """``[rule, row]``: the weight of each rule for each query."""
        found = torch.zeros(len(names), len(cells))
        for term in self.terms:
            found[names.index(term.rule)] += term.weight * CONDITION_OF[term.condition].holds[cells]
        return found


def sentence(program: Program, shares: Sequence[float], evenly: float, unexplained: float) -> str:
    """What a head does, in a sentence: such as "looks at the token before (71%), and inside brackets at …; 17%
    unexplained".

    Args:
        shares: of the head's weight that each term explains; ``evenly``: that spreading the rest evenly explains.
        unexplained: what is left.
    """
    parts = [(share, phrase) for share, phrase in _by_rule(program, shares) if round(100 * share)]
    if round(100 * evenly):
        parts.append((evenly, "evenly at all it sees"))
    said = [f"{phrase} ({share:.0%})" for share, phrase in sorted(parts, key=lambda part: -part[0])]
    if not said:
        return f"does nothing that a rule says; {unexplained:.0%} unexplained"
    listed = ", ".join(said[:-1]) + (", and " if len(said) > 1 else "") + said[-1]
    return f"looks {listed}; {unexplained:.0%} unexplained"


def _by_rule(program: Program, shares: Sequence[float]) -> list[tuple[float, str]]:
    """Terms of one rule are said together: at something always, and more so under conditions."""
    groups: dict[str, list[tuple[Term, float]]] = {}
    for term, share in zip(program.terms, shares, strict=True):
        groups.setdefault(term.rule, []).append((term, share))
    found = []
    for rule, members in groups.items():
        always = any(term.condition == "always" for term, _ in members)
        conditions = [CONDITION_OF[term.condition].phrase for term, _ in members if term.condition != "always"]
        among = " and ".join(conditions)
        looked_at = f"at {RULE_OF[rule].phrase}"
        if conditions:
            looked_at = f"{looked_at}, more so {among}" if always else f"{among} {looked_at}"
        found.append((sum(share for _, share in members), looked_at))
    return found
