"""A few numbers per moment for TensorBoard and Weights & Biases, where those are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

#: Strengths whose strongest head is followed.
FOLLOWED = ("induction", "previous_token", "first_token")


class Scalars:
    """Writes a moment's summary: mean entropy of each layer, and the strongest head of a few patterns.

    TensorBoard gets an event file of its own in ``folder/tensorboard``, where the package is installed. Weights &
    Biases gets the numbers if a run is going on; none is started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def write(self, step: int, table: pd.DataFrame) -> None:
        numbers = summary(table)
        writer = self._tensorboard()
        if writer is not None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, step)
            writer.flush()
        wandb: Any = sys.modules.get("wandb")
        if wandb is not None and getattr(wandb, "run", None) is not None:
            # The Trainer counts its logs in the same way; W&B's own counter may not go back.
            wandb.log({**numbers, "train/global_step": step})

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _tensorboard(self) -> Any:
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return None
            self._writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self._writer


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Name to number: ``attention/entropy/decoder.self.3`` and ``attention/strongest/induction``."""
    found: dict[str, float] = {}
    if "entropy" in table.columns:
        means = table.groupby(["stack", "kind", "layer"], sort=False)["entropy"].mean()
        found = {
            f"attention/entropy/{stack}.{kind}.{layer}": float(mean) for (stack, kind, layer), mean in means.items()
        }
    for name in FOLLOWED:
        if name in table.columns and table[name].notna().any():
            found[f"attention/strongest/{name}"] = float(table[name].max())
    return found
