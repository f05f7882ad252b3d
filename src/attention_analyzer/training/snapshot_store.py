"""Where a tracker puts its moments: one Parquet file each, whole or not there, whatever happens to the process."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from attention_analyzer.errors import InputError
from attention_analyzer.training.history_files import read_info, write_info, write_table

_NAME = re.compile(r"step-(\d+)\.parquet")


class MomentStore:
    """The folder of a history that is being written.

    A moment is written beside its place, flushed to the disk and moved into it, so a reader or a killed process never
    leaves or meets half a file. A moment of a step that is there already replaces it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def steps(self) -> list[int]:
        """The steps that are there, in order."""
        matches = (_NAME.fullmatch(path.name) for path in (self.folder / "moments").glob("step-*.parquet"))
        return sorted(int(match[1]) for match in matches if match)

    def describe(self, model: str, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Say what is measured; the same as before, where the folder has a history already.

        Raises:
            InputError: the folder's history is a finished one, or was measured on other texts, or the folder cannot be
                written to.
        """
        try:
            self._describe(model, source, target)
        except OSError as error:
            raise InputError(f"The history could not be written to {self.folder}: {error.strerror or error}.") from None

    def _describe(self, model: str, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        (self.folder / "moments").mkdir(parents=True, exist_ok=True)
        if (self.folder / "history.parquet").exists():
            raise InputError(f"{self.folder} holds a finished history; name another folder for a new one.")
        if (self.folder / "history.json").exists():
            before = read_info(self.folder)
            if (tuple(before["source"]), tuple(before["target"])) != (source, target):
                raise InputError(
                    f"The history in {self.folder} was measured on other texts or with another tokenizer; "
                    "use the same texts and tokenizer, or another folder."
                )
            return
        write_info(self.folder, model, source, target)

    def begin_at(self, step: int) -> None:
        """Take up a training at ``step``: what an interrupted run recorded after it is recorded again, so it goes.

        Raises:
            InputError: a training begins at its beginning, but the folder holds another one's history.
        """
        later = [each for each in self.steps if each > step]
        if later and step <= 1:
            raise InputError(
                f"{self.folder} holds the history of a training up to step {later[-1]:,}, but this one begins at step "
                f"{step}; name another folder, or remove this one."
            )
        for each in later:
            self._path(each).unlink()

    def write(self, step: int, table: pd.DataFrame) -> None:
        """Add one moment.

        Raises:
            InputError: it cannot be written, as on a full disk; the moments before stay as they are.
        """
        write_table(self._path(step), table)

    def _path(self, step: int) -> Path:
        return self.folder / "moments" / f"step-{step:09d}.parquet"
