"""What every analysis returns: an object that prints in a few lines and has a table, a figure and a page.

A result is data. How it is drawn is known above, in ``plots``; the package connects the two when it is imported
(:func:`draw_with`), so that no analysis imports a figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Rows of a table that a notebook shows.
SHOWN_ROWS = 10
_SMALL = "opacity:.75;font-size:90%"
_draw: Callable[[Result, str, dict[str, Any]], Figure] | None = None


def draw_with(draw: Callable[[Result, str, dict[str, Any]], Figure]) -> None:
    """Set the function that draws a result: called with the result, the name of the view and its options."""
    global _draw  # noqa: PLW0603 (set once, by the package)
    _draw = draw


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
    def subject(self) -> str:
        """The model or models that the result is about; "" if none is known."""
        return str(getattr(self, "model_name", ""))

    @property
    def _title(self) -> str:
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
        assert _draw is not None, "importing attention_analyzer sets it"
        return _draw(self, view, options)

    def plot(self, **options: Any) -> Figure:
        """The main figure; the same as :meth:`figure`."""
        return self.figure(**options)

    def to_html(self, path: str | Path) -> Path:
        """Write facts, figure and table as one HTML page without scripts.

        Raises:
            InputError: the file cannot be written; one that was there is unchanged.
        """
        from io import StringIO

        from attention_analyzer.files import exported

        picture = StringIO()
        self.figure().savefig(picture, format="svg")
        svg = picture.getvalue()
        svg = svg[svg.index("<svg") :]
        page = _PAGE.format(
            title=escape(self._title),
            facts="".join(f"<li>{escape(fact)}</li>" for fact in self.facts()),
            figure=svg,
            table=_html_table(self.to_frame()),
        )
        with exported(path) as beside:
            beside.write_text(page, encoding="utf-8")
        return Path(path)

    def __repr__(self) -> str:
        return "\n  ".join([self._title, *self.facts(), f"next: {self._next()}"])

    def _repr_html_(self) -> str:
        # Colors are inherited, so that the notebook's light and dark themes both work.
        frame = self.to_frame()
        rest = len(frame) - SHOWN_ROWS
        more = f"<div style='{_SMALL}'>… and {rest:,} more rows</div>" if rest > 0 else ""
        facts = "".join(f"<div style='{_SMALL}'>{escape(fact)}</div>" for fact in self.facts())
        table = _html_table(frame.head(SHOWN_ROWS))
        foot = f"<div style='{_SMALL}'>next: <code>{escape(self._next())}</code></div>"
        return f"<div><strong>{escape(self._title)}</strong>{facts}{table}{more}{foot}</div>"

    def _next(self) -> str:
        return ", ".join([".to_frame()", ".figure()", *(f'.figure("{view}")' for view in self.views), ".to_html(path)"])


def _html_table(frame: pd.DataFrame) -> str:
    return frame.to_html(index=False, border=0, float_format="{:.4g}".format, na_rep="–", escape=True)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
figure {{ margin: 1rem 0; background: white; border-radius: 6px; overflow-x: auto }}
svg {{ max-width: 100%; height: auto }}
.table {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8884 }}
</style></head>
<body><h1>{title}</h1><ul>{facts}</ul><figure>{figure}</figure><div class="table">{table}</div></body></html>
"""
