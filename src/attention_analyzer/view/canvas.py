"""Figures whose texts can always be drawn, and the formats that they are written in."""

from __future__ import annotations

import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from attention_analyzer.errors import InputError
from attention_analyzer.files import exported
from attention_analyzer.text.visible import visible
from attention_analyzer.view.fonts import fonts, fonts_for, glyph_warning, without_glyph

FORMATS = (".png", ".svg", ".pdf")


class MissingGlyphWarning(UserWarning):
    """No font of this machine has some characters of a figure."""


class TextFigure(Figure):
    """A figure that finds fonts for its texts, and says once which characters none has.

    It is made without pyplot, so nothing global is kept and any thread may draw.
    """

    _said: frozenset[str] = frozenset()

    def draw(self, renderer: RendererBase) -> None:
        self.prepare_texts()
        with warnings.catch_warnings():
            # Said in one sentence already, and not glyph by glyph.
            warnings.filterwarnings(
                "ignore", message="Glyph .* missing from font|Matplotlib currently does not support"
            )
            super().draw(renderer)

    def savefig(self, fname: Any, *, svg_text: bool = False, **options: Any) -> None:
        """As matplotlib's; ``svg_text=True`` keeps text as text in an SVG, to be edited, instead of its outlines."""
        with mpl.rc_context({"svg.fonttype": "none" if svg_text else "path"}):
            if svg_text:
                self._said = frozenset(self._characters())  # nothing is drawn that could lack a glyph
            super().savefig(fname, **options)

    def prepare_texts(self) -> None:
        """Give every text fonts that have its characters, and marks for what would show nothing or cannot be drawn."""
        lacking: dict[str, None] = {}
        for text in self.findobj(Text):
            content = text.get_text()
            if content.isascii() and content.isprintable():
                continue
            shown = "\n".join(visible(line) if line.strip() else line for line in content.split("\n"))
            if shown != content:
                text.set_text(shown)
            text.set_fontfamily(list(fonts_for(shown)))
            lacking |= dict.fromkeys(without_glyph(shown))
        new = [each for each in lacking if each not in self._said]
        if new:
            self._said |= frozenset(new)
            warnings.warn(glyph_warning(new), MissingGlyphWarning, stacklevel=2)

    def _characters(self) -> set[str]:
        return {character for text in self.findobj(Text) for character in text.get_text()}


def new_figure(
    size: tuple[float, float], *, face: str = "white", layout: Literal["constrained"] | None = "constrained"
) -> TextFigure:
    """An empty figure. Size in inches."""
    with mpl.rc_context({"font.family": list(fonts())}):
        return TextFigure(figsize=size, layout=layout, facecolor=face)


def check_figure_path(path: str | os.PathLike[str]) -> None:
    """Refuse a file name before anything is drawn for it.

    Raises:
        InputError: the suffix names no picture format.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{path} has the suffix {Path(path).suffix!r}; figures are written as {', '.join(FORMATS)}.")


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 200, svg_text: bool = False) -> Path:
    """Write a figure as PNG, SVG or PDF, by the file's suffix.

    Args:
        svg_text: keep text as text in an SVG, to be edited, instead of drawing outlines.

    Raises:
        InputError: the suffix names no picture format, or the file cannot be written; one that was there is unchanged.
    """
    check_figure_path(path)
    if svg_text and Path(path).suffix.lower() != ".svg":
        raise InputError(f"Text is kept as text in SVG files alone, but {path} is none.")
    options: dict[str, Any] = {"svg_text": svg_text} if isinstance(figure, TextFigure) else {}
    picture = BytesIO()  # in memory first: matplotlib's PDF writer does not end well on a disk that is full
    figure.savefig(picture, dpi=dpi, format=Path(path).suffix[1:].lower(), **options)
    with exported(path) as beside:
        beside.write_bytes(picture.getbuffer())
    return Path(path)
