"""How far a scan has come: rate, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a scan stands.

    Attributes:
        texts, tokens, problems: analyzed so far, with what a store had before; rows left out.
        share: how much of the input is done, in [0, 1]; None where nobody can know.
        seconds: since this run began; ``texts_now`` and ``tokens_now``: what it has done.
        rows_before: which share of what is done was done before this run.
    """

    texts: int
    tokens: int
    problems: int
    share: float | None
    seconds: float
    texts_now: int
    tokens_now: int
    rows_before: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_now / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None where the end is unknown."""
        if not self.share:
            return None
        here = self.share * (1 - self.rows_before)
        return self.seconds * (1 - self.share) / here if here > 0 else None

    def __str__(self) -> str:
        left = self.seconds_left
        parts = [f"{self.texts:,} texts", f"{self.tokens_per_second:,.0f} tokens/s"]
        parts += [f"{self.problems:,} left out"] if self.problems else []
        parts += [f"{_clock(left)} left"] if left is not None else []
        return " · ".join(parts)


@contextmanager
def bar() -> Iterator[Callable[[Progress], None] | None]:
    """A bar on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}")
    with RichProgress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("starting …", total=None)
        yield lambda progress: shown.update(
            task,
            total=None if progress.share is None else 1.0,
            completed=progress.share or 0.0,
            description=str(progress),
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
