"""What every analysis returns: an object that prints in a few lines and has a table, a figure and a page.

A result is data. How it is drawn is known above, in ``plots``; the package connects the two when it is imported
(:func:`present_with`), so that no analysis imports a figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Rows of a table that a notebook shows.
SHOWN_ROWS = 10
_SMALL = "opacity:.75;font-size:90%"


_LEFT_OUT = "_left_out"
#: Draws from which an interval is about as wide as it says.
ENOUGH = 10
#: How often, in percent, a 95 % percentile interval over so many draws of a normal distribution holds the mean.
COVERAGE = {2: 50, 3: 75, 4: 81, 5: 84, 6: 86, 7: 87, 8: 88, 9: 89}


def problem_table(rows: Iterable[Iterable[Any]] = ()) -> pd.DataFrame:
    """Texts that were left out: ``index`` in the list that was given, ``text`` (first characters), ``reason``."""
    import pandas as pd

    return pd.DataFrame([tuple(row) for row in rows], columns=["index", "text", "reason"])


@dataclass(frozen=True)
class Basis:
    """How many draws the intervals of a result are over.

    Attributes:
        count: how many.
        unit: of one, such as "text".
    """

    count: int
    unit: str = "text"

    def cautions(self) -> tuple[str, ...]:
        """What is said of too few; nothing of :data:`ENOUGH` and more."""
        if self.count >= ENOUGH:
            return ()
        if self.count < 2:
            return (f"rests on {self.count} {self.unit}: there is no interval, and another {self.unit} may differ",)
        held = f"over so few, a 95% interval holds the mean about {COVERAGE[self.count]}% of the time"
        return (f"rests on {self.count} {self.unit}s: {held}",)


class Presenter(Protocol):
    """What draws results; the package ``plots`` is one."""

    def draw(self, result: Result, view: str, options: dict[str, Any], /) -> Figure: ...

    def write_page(self, result: Result, path: Path, options: dict[str, Any], /) -> None: ...


def _nobody() -> Presenter:
    raise RuntimeError("import attention_analyzer before a result is drawn")


_presenter: Callable[[], Presenter] = _nobody


def present_with(presenter: Callable[[], Presenter]) -> None:
    """Set what draws results; it is called with the first figure or page, and again with each."""
    global _presenter  # noqa: PLW0603 (set once, by the package)
    _presenter = presenter


class Result(ABC):
    """Base of everything that an analysis returns.

    A subclass says what it found in :meth:`facts`, and has one main table, :meth:`to_frame`.
    """

    #: Names of further figures, for ``figure(view)``.
    views: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def facts(self) -> tuple[str, ...]:
        """Two or three short statements: of how much it is, and its main figures."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """The main table."""

    @property
    def problems(self) -> pd.DataFrame:
        """What ``errors="skip"`` left out: ``index`` in the list that was given, ``text`` (its start), ``reason``."""
        found: pd.DataFrame | None = self.__dict__.get(_LEFT_OUT)
        return problem_table() if found is None else found

    def leaving_out(self, problems: pd.DataFrame) -> Self:
        """The same result, which also lists the texts that were left out."""
        result = copy(self)
        object.__setattr__(result, _LEFT_OUT, problems)
        return result

    def basis(self) -> Basis | None:
        """What the intervals and means are over; None where nothing is claimed beyond what was read."""
        return None

    def cautions(self) -> tuple[str, ...]:
        """Statements about numbers that rest on too little; none where there is enough."""
        found = self.basis()
        return () if found is None else found.cautions()

    def statements(self) -> tuple[str, ...]:
        """What is shown of it everywhere: :meth:`facts`, :meth:`cautions`, and how much was left out."""
        count = len(self.problems)
        left_out = f"{count} {'text was' if count == 1 else 'texts were'} left out; .problems says which and why"
        return (*self.facts(), *self.cautions(), *((left_out,) if count else ()))

    @property
    def subject(self) -> str:
        """The model or models that the result is about; "" if none is known."""
        return str(getattr(self, "model_name", ""))

    @property
    def heading(self) -> str:
        """What it is, of which model."""
        return f"{type(self).__name__} of {self.subject}" if self.subject else type(self).__name__

    def figure(self, view: str = "", **options: Any) -> Figure:
        """Draw the result.

        Args:
            view: one of :attr:`views`; the main figure by default.
            options: of the figure; see ``attention_analyzer.plots``.

        Raises:
            SelectionError: there is no such view.
        """
        return _presenter().draw(self, view, options)

    def plot(self, **options: Any) -> Figure:
        """The main figure; the same as :meth:`figure`."""
        return self.figure(**options)

    def to_html(self, path: str | Path, **options: Any) -> Path:
        """Write one HTML page that opens anywhere: facts, figure and table, or what ``plots.PAGES`` says.

        Raises:
            InputError: the file cannot be written; one that was there is unchanged.
        """
        path = Path(path)
        _presenter().write_page(self, path, options)
        return path

    def __repr__(self) -> str:
        return "\n  ".join([self.heading, *self.statements(), f"next: {self._next()}"])

    def _repr_html_(self) -> str:
        # Colors are inherited, so that the notebook's light and dark themes both work.
        frame = self.to_frame()
        rest = len(frame) - SHOWN_ROWS
        more = f"<div style='{_SMALL}'>… and {rest:,} more rows</div>" if rest > 0 else ""
        facts = "".join(f"<div style='{_SMALL}'>{escape(fact)}</div>" for fact in self.statements())
        table = html_table(frame.head(SHOWN_ROWS))
        foot = f"<div style='{_SMALL}'>next: <code>{escape(self._next())}</code></div>"
        return f"<div><strong>{escape(self.heading)}</strong>{facts}{table}{more}{foot}</div>"

    def _next(self) -> str:
        return ", ".join([".to_frame()", ".figure()", *(f'.figure("{view}")' for view in self.views), ".to_html(path)"])


def html_table(frame: pd.DataFrame) -> str:
    """A table's markup; every text in it is escaped."""
    return frame.to_html(index=False, border=0, float_format="{:.4g}".format, na_rep="–", escape=True)
