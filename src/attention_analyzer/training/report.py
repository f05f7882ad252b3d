"""A history in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.training.history import History

#: Warnings of one kind that are written out; more are counted.
_WRITTEN = 4


def report(history: History) -> str:
    """What the training did: loss, the first and the last onset of each role, and the warnings."""
    steps = history.steps
    name = history.model_name or "The model"
    lines = [f"{name}: {len(history.heads)} heads at {len(steps)} recorded steps, {steps[0]:,} to {steps[-1]:,}."]
    loss = history.loss
    if len(loss) > 1:
        lines.append(f"The loss went from {loss.iloc[0]:.3g} to {loss.iloc[-1]:.3g}.")
    found = history.onsets()
    for role, part in found.groupby("role", sort=False):
        lines.append(_of_role(str(role), part))
    if found.empty:
        lines.append("No head acquired a tracked role.")
    for sign, part in history.signs().groupby("sign", sort=False):
        lines += list(part["words"].head(_WRITTEN))
        if len(part) > _WRITTEN:
            lines.append(f"… and {len(part) - _WRITTEN} more warnings of this kind ({sign}).")
    return "\n".join(lines)


def _of_role(role: str, part: pd.DataFrame) -> str:
    first = part.iloc[0]
    kept = int(part["lost"].isna().sum())
    name = f"L{first['layer']}H{first['head']}"
    if first["onset"] == first["low"] == first["high"]:
        when = f"from step {first['onset']:,.0f} on"
    else:
        when = f"at step {first['onset']:,.0f} (between {first['low']:,.0f} and {first['high']:,.0f})"
    count = f"{kept} head{'' if kept == 1 else 's'} {'has' if kept == 1 else 'have'} it at the last step"
    return f"{role.replace('_', ' ').capitalize()}: {name} was the first, {when}; {count}."
