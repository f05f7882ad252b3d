"""What in a history deserves a warning: collapsed entropy, dead heads, duplicate heads.

All three are told from the weights alone. A head that rests may still matter to the model, and two heads that look at
the same may carry different values: ablate them to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from attention_analyzer.training.columns import KEYS
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.divergence import divergence_of_all, rows_of
from attention_analyzer.weights.visibility import Visibility

if TYPE_CHECKING:
    from attention_analyzer.training.history import History

#: A layer's entropy has collapsed when it falls below this share of the largest it had.
COLLAPSED = 0.1
#: A head is dead when it rests on the first or on special tokens with at least this weight …
RESTING = 0.95
#: … or spreads attention evenly, untouched by training, with at least this share of the largest entropy there is.
UNIFORM = 0.99
#: Two heads are duplicates when their divergence is below this, in nats (the largest there is: 0.693).
ALIKE = 0.005
COLUMNS = ["sign", "stack", "kind", "layer", "head", "other_layer", "other_head", "since", "value", "words"]


def signs(history: History) -> pd.DataFrame:
    """Warnings, one per row.

    Returns:
        ``sign`` ("entropy collapse", "sink head", "uniform head", "duplicate heads"), ``stack, kind, layer``, and
        ``head`` and ``other_layer, other_head`` where the sign is about one or two heads; ``since``, the step from
        which on it is there; ``value``: what was measured; ``words``: the sign as a sentence. What needs a column or a
        pattern that was not recorded is left out.
    """
    rows = [*_collapses(history), *_dead(history), *_duplicates(history)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(("layer", "head", "other_layer", "other_head", "since"), "Int64"))


def _collapses(history: History) -> list[tuple[object, ...]]:
    """Layers whose entropy fell to near nothing, as it does where training becomes unstable (Zhai et al. 2023)."""
    if "entropy" not in history.columns:
        return []
    found: list[tuple[object, ...]] = []
    layers = history.entropy_by_layer()
    loss = history.loss
    for (stack, kind, layer), curve in layers.items():
        share = (curve / curve.cummax()).to_numpy()
        start = _since(share < COLLAPSED)
        if start is None:
            continue
        step = int(curve.index[start])
        words = (
            f"The entropy of {stack} {kind}-attention layer {layer} collapsed at step {step:,}: "
            f"{curve.iloc[start]:.3g} nats, {share[start]:.0%} of what it had been"
        )
        later, earlier = loss[loss.index >= step], loss[loss.index < step]
        if len(later) and len(earlier) and later.iloc[-1] > 1.05 * earlier.min():
            words += f"; the loss rose from {earlier.min():.3g} to {later.iloc[-1]:.3g}"
        found.append(("entropy collapse", stack, kind, layer, None, None, None, step, float(share[-1]), words + "."))
    return found


def _dead(history: History) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    resting = [name for name in ("first_weight", "special_weight") if name in history.columns]
    if resting:
        weight = np.fmax.reduce([history.wide(name).to_numpy() for name in resting])
        frame = pd.DataFrame(weight, history.wide(resting[0]).index, history.wide(resting[0]).columns)
        where = "on the first or on special tokens" if len(resting) > 1 else "on the first token"
        found += _lasting(
            frame, lambda values: values >= RESTING, "sink head", f"puts {{:.0%}} of its attention {where}"
        )
    if "normalized_entropy" in history.columns:
        frame = history.wide("normalized_entropy")
        words = "spreads attention evenly ({:.1%} of the largest entropy)"
        found += _lasting(frame, lambda values: values >= UNIFORM, "uniform head", words)
    return found


def _lasting(
    frame: pd.DataFrame, shows: Callable[[np.ndarray], np.ndarray], sign: str, words: str
) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for (stack, kind, layer, head), curve in frame.items():
        start = _since(shows(curve.to_numpy()))
        # Every head of an untrained model spreads evenly, so one moment says nothing.
        if start is None or len(curve) < 2:
            continue
        step, value = int(curve.index[start]), float(curve.iloc[-1])
        text = f"{stack} {kind} L{layer}H{head} {words.format(value)} since step {step:,}."
        found.append((sign, stack, kind, layer, head, None, None, step, value, text))
    return found


def _duplicates(history: History) -> list[tuple[object, ...]]:
    """Pairs of heads with nearly the same pattern at the last step whose patterns were kept."""
    if not history.pattern_steps:
        return []
    step = history.pattern_steps[-1]
    rows = history.table[(history.table["step"] == step) & history.table["pattern"].notna()]
    found: list[tuple[object, ...]] = []
    for (stack, kind), part in rows.groupby(["stack", "kind"], sort=False):
        places = [tuple(row) for row in part[list(KEYS[3:])].itertuples(index=False)]
        shown = np.stack([history.pattern(step, layer, head, stack=stack, kind=kind) for layer, head in places])
        weights = DenseWeights(torch.from_numpy(shown)[None], Visibility(*shown.shape[1:]))
        distance = divergence_of_all(rows_of(weights), rows_of(weights)).numpy()
        for first, second in np.argwhere(np.triu(distance < ALIKE, 1)):
            (layer, head), (other_layer, other_head) = places[first], places[second]
            value = float(distance[first, second])
            words = (
                f"{stack} {kind} L{layer}H{head} and L{other_layer}H{other_head} look at the same "
                f"(Jensen–Shannon divergence {value:.2g} nats at step {step:,})."
            )
            found.append(("duplicate heads", stack, kind, layer, head, other_layer, other_head, step, value, words))
    return found


def _since(flags: np.ndarray) -> int | None:
    """Where the last stretch of True that reaches the end begins; None if the end is False."""
    if not len(flags) or not flags[-1]:
        return None
    false = np.flatnonzero(~flags)
    return int(false[-1]) + 1 if len(false) else 0
