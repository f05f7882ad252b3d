"""The history of a training: every head's numbers at every recorded step, frozen, and its place on disk.

On disk a history is a folder: ``history.json`` says what was measured, and either ``moments/`` holds one Parquet file
per step (as a tracker writes them: each is whole or not there) or ``history.parquet`` holds all of them (as
:meth:`History.save` writes them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.deprecation import warn_renamed
from attention_analyzer.errors import FileFormatError, InputError, SelectionError
from attention_analyzer.models.catalog import BUNDLED
from attention_analyzer.result import Result
from attention_analyzer.site import Kind, head_rows, tower_of
from attention_analyzer.training.columns import BESIDE, KEYS, OF_THE_STEP
from attention_analyzer.training.history_files import read_info, read_tables, write_info, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.training.run_comparison import RunComparison

_KEPT = ("pattern", "pattern_queries")


@dataclass(frozen=True, repr=False)
class History(Result):
    """How attention grew.

    Attributes:
        table: one row per step and head: ``step, stack, kind, layer, head``; where known ``loss, tokens_seen,
            seconds``; metrics (:data:`.metrics.METRICS`), pattern strengths in [0, 1], and beside a strength its
            ``…_control`` (what chance or position alone would give) and ``…_error`` (standard error over the texts).
        model_name: what was trained.
        source, target: what the axes of kept patterns show; ``target`` for the decoder of two stacks.
    """

    table: pd.DataFrame
    model_name: str = ""
    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    views: ClassVar[tuple[str, ...]] = ("map",)
    _wide: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [name for name in KEYS if name not in self.table.columns]
        if missing:
            raise InputError(f"A history needs the columns {', '.join(KEYS)}; {', '.join(missing)} are missing.")
        if self.table.empty:
            raise InputError("The history is empty; at least one recorded step is needed.")
        twice = self.table.duplicated(list(KEYS))
        if twice.any():
            row = self.table[twice].iloc[0]
            raise InputError(f"The history has L{row['layer']}H{row['head']} at step {row['step']} twice.")
        ordered = self.table.sort_values(list(KEYS), kind="stable").reset_index(drop=True)
        object.__setattr__(self, "table", ordered)

    @property
    def steps(self) -> list[int]:
        """The recorded steps, in order."""
        return [int(step) for step in self.table["step"].unique()]

    @property
    def heads(self) -> pd.DataFrame:
        """``stack, kind, layer, head`` of every head."""
        return self.table[list(KEYS[1:])].drop_duplicates().reset_index(drop=True)

    @property
    def columns(self) -> list[str]:
        """What was measured of each head: metrics and pattern strengths."""
        not_measured = {*KEYS, *OF_THE_STEP, *_KEPT}
        return [name for name in self.table.columns if name not in not_measured and not name.endswith(BESIDE)]

    @property
    def loss(self) -> pd.Series:
        """Loss by step, of the steps at which it is known."""
        if "loss" not in self.table.columns:
            return pd.Series(dtype=float, name="loss")
        return self.table.groupby("step")["loss"].first().dropna()

    def facts(self) -> tuple[str, ...]:
        steps = self.steps
        return (f"{len(self.heads)} heads at {len(steps)} steps from {steps[0]:,} to {steps[-1]:,}",)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table

    def at(self, step: int) -> pd.DataFrame:
        """The head table of one recorded step.

        Raises:
            SelectionError: this step was not recorded.
        """
        self._check_step(step)
        found = self.table[self.table["step"] == step]
        return found.drop(columns=[name for name in _KEPT if name in found.columns]).reset_index(drop=True)

    def wide(self, column: str) -> pd.DataFrame:
        """One number over time: steps down, heads ``(stack, kind, layer, head)`` across.

        Raises:
            SelectionError: it was not measured.
        """
        if column not in self._wide:
            if column not in self.table.columns or column in KEYS or column in _KEPT:
                raise SelectionError(f"The history has no {column!r}; it has {', '.join(self.columns)}.")
            self._wide[column] = self.table.pivot_table(
                index="step", columns=list(KEYS[1:]), values=column, dropna=False, observed=True
            )
        return self._wide[column]

    def curve(
        self, column: str, layer: int, head: int, *, stack: str | None = None, kind: Kind | None = None
    ) -> pd.Series:
        """One head's number by step.

        Raises:
            SelectionError: it was not measured, or there is no such head.
        """
        return self.wide(column)[*self._site(layer, head, stack, kind), layer, head]

    def entropy_by_layer(self) -> pd.DataFrame:
        """Mean entropy in nats over the heads of each layer: steps down, ``(stack, kind, layer)`` across."""
        return self.wide("entropy").T.groupby(level=["stack", "kind", "layer"]).mean().T

    # Kept patterns

    @property
    def pattern_steps(self) -> list[int]:
        """The steps at which patterns were kept."""
        if "pattern" not in self.table.columns:
            return []
        return [int(step) for step in self.table.loc[self.table["pattern"].notna(), "step"].unique()]

    def pattern(
        self, step: int, layer: int, head: int, *, stack: str | None = None, kind: Kind | None = None
    ) -> NDArray[np.float32]:
        """One head's weights ``[query, key]`` on the kept text.

        Raises:
            SelectionError: no pattern was kept at this step, or there is no such head.
        """
        if step not in self.pattern_steps:
            kept = ", ".join(f"{each:,}" for each in self.pattern_steps) or "none"
            raise SelectionError(f"No patterns were saved at step {step:,}; steps with patterns: {kept}.")
        place = [step, *self._site(layer, head, stack, kind), layer, head]
        row = self.table[(self.table[list(KEYS)] == place).all(axis=1)].iloc[0]
        return np.frombuffer(row["pattern"], np.float16).reshape(int(row["pattern_queries"]), -1).astype(np.float32)

    def tokens_for(self, stack: str, kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What the queries and the keys of kept patterns show."""
        if not self.target or (tower_of(stack) != "decoder" and kind == "self"):
            return self.source, self.source
        return self.target, self.target if kind == "self" else self.source

    # Analysis

    def onsets(self, roles: Sequence[str] | None = None) -> pd.DataFrame:
        """When each head took its role; see :func:`.onsets.onsets`."""
        from attention_analyzer.training.onsets import onsets

        return onsets(self, roles)

    def signs(self) -> pd.DataFrame:
        """Warnings: collapsed entropy, dead and duplicate heads; see :func:`.signs.signs`."""
        from attention_analyzer.training.diagnostics import signs

        return signs(self)

    def report(self) -> str:
        """The history in words: onsets, and what deserves a warning."""
        from attention_analyzer.training.report import report

        return report(self)

    def compare(self, other: History, names: tuple[str, str] | None = None) -> RunComparison:
        """Two trainings beside each other; see :class:`.runs.RunComparison`."""
        from attention_analyzer.training.run_comparison import RunComparison

        return RunComparison.of(self, other, names)

    def plot(self, roles: Sequence[str] | None = None) -> Figure:  # type: ignore[override]
        """Roles, layer-wise entropy and loss over the steps."""
        return self.figure(roles=roles)

    def head_map(
        self, step: int, column: str = "entropy", *, stack: str | None = None, kind: Kind | None = None
    ) -> Figure:
        """A number of all heads at one step as a layer × head figure."""
        return self.figure("map", step=step, column=column, stack=stack, kind=kind)

    # Files

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what a tracker or :meth:`save` wrote, or the bundled ``"demo-decoder-history"``.

        A history that is still being written can be opened at any time.

        Raises:
            InputError: there is no history at this path.
            FileFormatError: a file is corrupt, foreign or from a newer version.
        """
        folder = Path(path)
        if not folder.exists() and (BUNDLED / str(path) / "history.json").exists():
            folder = BUNDLED / str(path)
        info = read_info(folder)
        whole = folder / "history.parquet"
        files = [whole] if whole.exists() else sorted((folder / "moments").glob("step-*.parquet"))
        if not files:
            raise InputError(f"The history in {folder} has no recorded step yet.")
        table = read_tables(folder, files, info["format"])
        try:
            return cls(table, info["model"], tuple(info["source"]), tuple(info["target"]))
        except InputError as error:
            raise FileFormatError(f"{folder} contains no usable history: {error}") from None

    @classmethod
    def open(cls, path: str | Path) -> History:
        """The old name of :meth:`load`."""
        warn_renamed("History.open", "History.load")
        return cls.load(path)

    def save(self, folder: str | Path) -> Path:
        """Write the history as one Parquet file and its description; returns the folder.

        Raises:
            InputError: the folder cannot be written to; what was there is unchanged.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_table(folder / "history.parquet", self.table)
            write_info(folder, self.model_name, self.source, self.target)
        except OSError as error:
            raise InputError(f"The history could not be written to {folder}: {error.strerror or error}.") from None
        return folder

    # Inside

    def _check_step(self, step: int) -> None:
        steps = np.array(self.steps)
        if step not in steps:
            near = int(steps[np.abs(steps - step).argmin()])
            raise SelectionError(f"Step {step:,} was not recorded; the nearest recorded step is {near:,}.")

    def _site(self, layer: int, head: int, stack: str | None, kind: Kind | None) -> tuple[str, str]:
        """Stack and kind of a head; the main text's own attention where several answer."""
        heads = self.heads
        found = head_rows(heads, layer, head)
        for name, wanted in (("stack", stack), ("kind", kind)):
            found = found if wanted is None else found[found[name] == wanted]
        if found.empty:
            asked = " ".join(str(part) for part in (stack, kind, f"L{layer}H{head}") if part is not None)
            raise SelectionError(f"There is no {asked} in this history of {len(heads)} heads.")
        order = found.sort_values(["kind", "stack"], ascending=[False, False])
        return str(order["stack"].iloc[0]), str(order["kind"].iloc[0])
