"""Forward selection of a program's terms: least squares with weights that are not negative and sum to at most one.

An *atom* is a condition and a rule. At each step the atoms that promise most are tried, all weights fitted anew, and
the best is kept if it explains at least :data:`SMALLEST_GAIN` more of ``‖A - U‖²``. What comes to carry less than
:data:`SMALLEST_SHARE` of the head's weight is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.programs.conditions import CONDITIONS
from attention_analyzer.programs.program import Term
from attention_analyzer.programs.rule import Rule

Floats = NDArray[np.float64]
MOST_TERMS = 6
SMALLEST_GAIN = 0.01
SMALLEST_SHARE = 0.03
#: Atoms that are tried at each step.
_TRIED = 6
#: A rule under a condition must explain this much more than the best unconditional one to come before it.
_FOR_A_CONDITION = 1.02
#: How strictly a sum of weights is kept at one, beside a total of one.
_PENALTY = 1e2
_HOLDS = np.stack([condition.holds.numpy() for condition in CONDITIONS]).astype(np.float64)


@dataclass(frozen=True)
class Atoms:
    """All pairs of condition and rule that any query allows, with their statistics.

    Attributes:
        conditions, rules: numbers, ``[atom]``.
        gram: ``[atom, atom]``; ``reach [atom]``: the share of all queries where the atom has a target.
        active: bool ``[cell, atom]``.
    """

    conditions: NDArray[np.int64]
    rules: NDArray[np.int64]
    gram: Floats
    reach: Floats
    active: NDArray[np.bool_]

    @classmethod
    def of(cls, gram: Floats, reach: Floats, count: Floats) -> Atoms:
        """From sums by cell; see :mod:`.evidence`."""
        by_pair = _HOLDS @ reach  # [condition, rule]
        conditions, rules = np.nonzero(by_pair > 0)
        # A condition that holds for all queries, or for all that a rule reaches, says no more than none.
        always = (conditions == 0) | (by_pair[conditions, rules] < by_pair[0, rules] * 0.98)
        conditions, rules = conditions[always], rules[always]
        flat = np.zeros((len(conditions), len(conditions)))
        for cell in np.flatnonzero(count > 0):
            inside = np.flatnonzero(_HOLDS[conditions, cell])
            flat[np.ix_(inside, inside)] += gram[cell][np.ix_(rules[inside], rules[inside])]
        active = (_HOLDS[conditions].T > 0) & (reach[:, rules] > 0)
        return cls(conditions, rules, flat, by_pair[conditions, rules] / max(count.sum(), 1.0), active)

    def cross(self, cross: Floats) -> Floats:
        """``[atom]`` from one head's ``[cell, rule]``."""
        found: Floats = (_HOLDS @ cross)[self.conditions, self.rules]
        return found


def fit_head(atoms: Atoms, cross: Floats, total: float, rules: tuple[Rule, ...]) -> tuple[Term, ...]:
    """One head's terms, that with the largest share of the weight first.

    Args:
        cross: ``[atom]``; ``total``: ``‖A - U‖²``.
    """
    if total <= 0:
        return ()
    diagonal = np.maximum(np.diag(atoms.gram), 1e-12)
    preferred = np.where(atoms.conditions == 0, _FOR_A_CONDITION, 1.0)
    chosen: list[int] = []
    weights = np.zeros(0)
    missed = total
    while len(chosen) < MOST_TERMS:
        left = cross - atoms.gram[:, chosen] @ weights
        promise = np.maximum(left, 0) ** 2 / diagonal * preferred
        promise[chosen] = 0
        best: tuple[float, int, Floats, float] | None = None
        for atom in np.argsort(-promise, kind="stable")[:_TRIED].tolist():
            if promise[atom] < SMALLEST_GAIN * total / 4:
                break
            trial = _weights(atoms, cross, [*chosen, atom], total)
            error = _error(atoms, cross, [*chosen, atom], trial, total)
            merit = (missed - error) * preferred[atom]
            if best is None or merit > best[0] * (1 + 1e-6):
                best = (merit, atom, trial, error)
        if best is None or missed - best[3] < SMALLEST_GAIN * total:
            break
        chosen, weights, missed = [*chosen, best[1]], best[2], best[3]
        kept = [place for place, weight in enumerate(weights) if weight * atoms.reach[chosen[place]] > 1e-4]
        chosen, weights = [chosen[place] for place in kept], weights[kept]
    while chosen:
        shares = weights * atoms.reach[chosen]
        if shares.min() >= SMALLEST_SHARE:
            break
        chosen.pop(int(shares.argmin()))
        weights = _weights(atoms, cross, chosen, total)
    if not chosen:
        return ()
    order = np.argsort(-(weights * atoms.reach[chosen]))
    return tuple(
        Term(
            CONDITIONS[atoms.conditions[chosen[place]]].name,
            rules[atoms.rules[chosen[place]]].name,
            float(weights[place]),
        )
        for place in order
    )


def _error(atoms: Atoms, cross: Floats, chosen: list[int], weights: Floats, total: float) -> float:
    return float(total - 2 * weights @ cross[chosen] + weights @ atoms.gram[np.ix_(chosen, chosen)] @ weights)


def _weights(atoms: Atoms, cross: Floats, chosen: list[int], total: float) -> Floats:
    """Least squares with ``w ≥ 0`` and ``Σ w ≤ 1`` in every cell: non-negative least squares with a slack per bound."""
    from scipy.optimize import nnls

    size = len(chosen)
    if not size:
        return np.zeros(0)
    gram = atoms.gram[np.ix_(chosen, chosen)] / total
    root = np.linalg.cholesky(gram + np.eye(size) * (1e-9 * np.trace(gram) + 1e-12)).T
    bounds: Any = np.unique(atoms.active[:, chosen], axis=0)
    bounds = bounds[bounds.any(1)].astype(np.float64)
    scale = _PENALTY * max(1.0, float(np.sqrt(np.trace(gram))))
    left = np.block([[root, np.zeros((size, len(bounds)))], [scale * bounds, scale * np.eye(len(bounds))]])
    right = np.r_[np.linalg.solve(root.T, cross[chosen] / total), np.full(len(bounds), scale)]
    found: Floats = nnls(left, right)[0][:size]
    return found / max(1.0, float((bounds @ found).max()))
