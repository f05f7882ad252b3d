"""A comparison in words: how much differs, what changed most, and how far the pairing of heads can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attention_analyzer.comparison.matching import LEVEL
from attention_analyzer.weights.divergence import LARGEST

if TYPE_CHECKING:
    from attention_analyzer.comparison.comparison import Comparison

#: Heads that are told of one by one.
_TOLD = 3
#: How changes are told: metric, unit and decimals.
_UNITS = {
    "entropy": ("entropy", " nats", 2),
    "distance": ("distance", " tokens", 1),
    "previous_weight": ("weight on the token before", "", 2),
    "first_weight": ("weight on the first token", "", 2),
    "self_weight": ("weight on itself", "", 2),
}


def report(comparison: Comparison) -> str:
    """Several lines: the models, the pairing, the heads, the layer and the tokens that differ most."""
    first, second = comparison.names
    prints = comparison.fingerprints
    lines = [f"{first} [{prints[0][:12]}] and {second} [{prints[1][:12]}], {_texts(comparison)}."]
    lines.append(_pairing(comparison))
    if comparison.heads.empty or comparison.heads["divergence"].max() == 0:
        lines.append("Their attention is the same in every head.")
        return "\n".join(line for line in lines if line)
    lines.append(
        f"On average their heads differ by {comparison.divergence:.3g} nats of Jensen–Shannon divergence "
        f"(maximum {LARGEST:.3f})."
    )
    lines += [
        f"{_name(row)}: {row.divergence:.3g} nats{_interval(row)}{_changes(row)}."
        for row in comparison.heads.head(_TOLD).itertuples(index=False)
    ]
    if len(comparison.layers) > 1:
        layer = comparison.layers.loc[comparison.layers["divergence"].idxmax()]
        lines.append(f"Of the layers, {layer['layer']} differs most: {layer['divergence']:.3g} nats on average.")
    tokens = comparison.tokens[comparison.tokens["text"] == 0].nlargest(_TOLD, "divergence")
    shown = ", ".join(f"{row.token.strip()!r} ({row.divergence:.2g})" for row in tokens.itertuples(index=False))
    lines.append(f"Tokens whose attention differs most in the first text: {shown}.")
    if comparison.unaligned:
        lines.append(f"{comparison.unaligned} tokens have no counterpart and were skipped.")
    return "\n".join(line for line in lines if line)


def head_name(row: Any) -> str:
    """``L4H2``, or ``L4H2 ↔ L3H0`` where the partner has another place."""
    own, other = f"L{row.layer}H{row.head}", f"L{row.other_layer}H{row.other_head}"
    return own if own == other else f"{own} ↔ {other}"


def _name(row: Any) -> str:
    kind = "cross-attention " if row.kind == "cross" else ""
    return f"{kind}{head_name(row)}{'' if row.matched else ' (not a match beyond chance)'}"


def _texts(comparison: Comparison) -> str:
    count = len(comparison.texts)
    other = any(left != right for left, right in comparison.texts)
    what = f"{count} pairs of texts" if count > 1 else "two texts"
    return f"on {what}" if other else ("on one text" if count == 1 else f"on {count} texts")


def _pairing(comparison: Comparison) -> str:
    table = comparison.matching.table
    if comparison.matching.method == "index":
        if comparison.fingerprints[0] == comparison.fingerprints[1]:
            return "Both are the same model; each head is compared with itself."
        away = int((~table["closest"]).sum())
        note = f"; for {away} of {len(table)} another head of the second model is closer" if away else ""
        return f"Heads are paired by layer and index{note}."
    matched = int(table["matched"].sum())
    return (
        f"Heads are paired by attention similarity: {matched} of {len(table)} match better than position and "
        f"sharpness alone explain (about {LEVEL:.0%} of these by chance)."
    )


def _interval(row: Any) -> str:
    return "" if row.low != row.low else f" ({row.low:.3g} to {row.high:.3g})"


def _changes(row: Any) -> str:
    """The change that is largest for its kind, where it is worth words."""
    scale = {"entropy": 2.0, "distance": 5.0}
    known = {name: getattr(row, f"{name}_change") for name in _UNITS}
    name = max(known, key=lambda each: abs(known[each]) / scale.get(each, 1.0) if known[each] == known[each] else -1)
    change = known[name]
    if not abs(change) / scale.get(name, 1.0) > 0.05:
        return ""
    words, unit, digits = _UNITS[name]
    before = getattr(row, name)
    return f"; {words} {before:.{digits}f} → {before + change:.{digits}f}{unit}"
