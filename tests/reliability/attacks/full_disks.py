"""Writing over a file on a disk that becomes full at any byte: the old file must be there, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.run.state import State, save_states
from attention_analyzer.training.history import History
from tests.damage import disk_of
from tests.reliability.attack import Attack
from tests.reliability.attacks.damaged_files import record


def full_disk(name: str, file: str, write: Callable[[Path], object], share: float = 1.0) -> Attack:
    """An attack on one kind of export.

    Args:
        file: its name, below the folder.
        write: writes it into a folder.
    """

    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        write(folder)
        old = (folder / file).read_bytes()
        there = sorted(folder.rglob("*"))
        while True:
            room = chance.randrange(len(old))

            def attempt(room: int = room) -> bool:
                try:
                    with disk_of(room):
                        write(folder)
                except InputError:
                    if (folder / file).read_bytes() == old and sorted(folder.rglob("*")) == there:
                        raise
                return False

            yield attempt

    return Attack(f"Full disk: {name}", attempts, share)


def _history(folder: Path) -> None:
    History.load("demo-decoder-history").save(folder / "h")


def _figure(folder: Path) -> None:
    from attention_analyzer.view.figures import save_figure

    save_figure(record().figure(0, 0), folder / "picture.svg")


def _table(folder: Path) -> None:
    from attention_analyzer.cli.tables import write_table

    write_table(record().heads(), folder / "table.csv")


def _states(folder: Path) -> None:
    save_states(folder / "texts.safetensors", [State(1, (), {"x": np.arange(1000.0)})], "key")


FULL_DISKS = (
    full_disk("chunk of a study", "texts.safetensors", _states, share=0.2),
    full_disk("record", "one.attn", lambda folder: record().save(folder / "one.attn")),
    full_disk(
        "history",
        "h/history.parquet",
        lambda folder: History.load("demo-decoder-history").save(folder / "h"),
        share=0.2,
    ),
    full_disk("figure", "picture.svg", _figure, share=0.05),
    full_disk("table", "table.csv", _table, share=0.2),
    full_disk("page", "page.html", lambda folder: record().to_html(folder / "page.html"), share=0.2),
)
