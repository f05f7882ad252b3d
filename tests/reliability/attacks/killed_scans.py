"""Scans and studies that are killed, or meet a full disk, and continue: they must end as an undisturbed one does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.corpus.scanner import CHUNK, Scanner
from tests.reliability.attack import Attack
from tests.reliability.attacks.damaged_stores import content_of


def _killed(may_be_full: bool) -> Callable[[Random, Path], Iterator[Callable[[], bool]]]:
    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        scanner = Scanner()
        scanner.scan(folder / "first", commit_every=0)
        started = time.monotonic()
        scanner.scan(folder / "undisturbed", commit_every=0)
        seconds = time.monotonic() - started
        expected = content_of(folder / "undisturbed")

        def attempt() -> bool:
            store = folder / "store"
            for _ in range(chance.randint(1, 3)):
                full_at = CHUNK * chance.randint(1, 12) if may_be_full else None
                every = chance.choice((0, seconds / 8, 60))
                scanner.scan(store, kill_in=chance.uniform(0, seconds), commit_every=every, full_at=full_at)
            *_, told = scanner.scan(store, commit_every=60)
            right = told == "ended" and content_of(store) == expected
            shutil.rmtree(store)
            return right

        try:
            while True:
                yield attempt
        finally:
            scanner.close()

    return attempts


def _killed_study(may_be_full: bool) -> Callable[[Random, Path], Iterator[Callable[[], bool]]]:
    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        scanner = Scanner()
        scanner.scan(folder / "first", what="study")
        started = time.monotonic()
        *_, expected, _ = scanner.scan(folder / "undisturbed", what="study")
        seconds = time.monotonic() - started

        def attempt() -> bool:
            store = folder / "store"
            for _ in range(chance.randint(1, 3)):
                full_at = CHUNK * chance.randint(1, 12) if may_be_full else None
                scanner.scan(store, kill_in=chance.uniform(0, seconds), what="study", full_at=full_at)
            *_, found, told = scanner.scan(store, what="study")
            right = (found, told) == (expected, "ended")
            shutil.rmtree(store)
            return right

        try:
            while True:
                yield attempt
        finally:
            scanner.close()

    return attempts


KILLED_SCANS = (
    Attack("Scan killed at any moment, up to three times, and continued", _killed(False), share=0.05),
    Attack("Scan killed on a disk that becomes full, and continued", _killed(True), share=0.05),
    Attack("Study killed at any moment, up to three times, and continued", _killed_study(False), share=0.05),
    Attack("Study killed on a disk that becomes full, and continued", _killed_study(True), share=0.05),
)
