"""An attack, and what is counted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random

from attention_analyzer.errors import AttentionAnalyzerError


@dataclass
class Outcome:
    """How often an attack ended in what.

    Attributes:
        refused: an error of the package, one sentence.
        worked: the right result all the same.
        wrong: another result, without a word.
        crashed: an error of another kind, or the end of the process.
    """

    refused: int = 0
    worked: int = 0
    wrong: int = 0
    crashed: int = 0

    @property
    def tried(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def is_good(self) -> bool:
        return self.tried > 0 and self.wrong == self.crashed == 0

    def count(self, attempt: Callable[[], bool]) -> None:
        """One attempt, which says whether the result is right."""
        try:
            right = attempt()
        except AttentionAnalyzerError:
            self.refused += 1
        except Exception:  # noqa: BLE001 (whatever escapes is what is looked for)
            self.crashed += 1
        else:
            self.worked += right
            self.wrong += not right


#: The attempts of an attack, made of chance in an empty folder; each says whether its result is right.
Attempts = Callable[[Random, Path], Iterator[Callable[[], bool]]]


@dataclass(frozen=True)
class Attack:
    """Something that is done to the package many times.

    Attributes:
        name: of its row in the table; unique.
        attempts: an endless run of attempts.
        share: of the asked-for number of attempts, how many are made; less than one where each takes long.
    """

    name: str
    attempts: Attempts
    share: float = 1.0

    def run(self, count: int, folder: Path, seed: int = 0) -> Outcome:
        """Make some attempts and count how they end."""
        outcome = Outcome()
        wanted = max(1, round(count * self.share))
        for _, attempt in zip(range(wanted), self.attempts(Random(seed), folder), strict=False):
            outcome.count(attempt)
        return outcome
