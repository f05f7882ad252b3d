"""Tables for a terminal, and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = (".csv", ".parquet", ".json")


def check_format(path: Path | None) -> None:
    """Refuse a file name before any work is done for it.

    Raises:
        InputError: the suffix names no table format.
    """
    from attention_analyzer.errors import InputError

    if path is not None and path.suffix not in _FORMATS:
        raise InputError(f"{path} has the suffix {path.suffix!r}; tables are written as {', '.join(_FORMATS)}.")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or JSON (a list of rows), by the file's suffix.

    Raises:
        InputError: the suffix names no table format, or the file cannot be written; one that was there is unchanged.
    """
    from attention_analyzer.files import exported

    check_format(path)
    with exported(path) as beside:
        if path.suffix == ".csv":
            table.to_csv(beside, index=False)
        elif path.suffix == ".parquet":
            table.to_parquet(beside, index=False)
        else:
            table.to_json(beside, orient="records", force_ascii=False, indent=1, double_precision=9)


def print_table(table: pd.DataFrame, title: str = "", digits: int = 3) -> None:
    """Show a table on standard output, as wide as the terminal allows; plain text where it is no terminal."""
    import shutil

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from attention_analyzer.text.visible import visible

    piped = not Console().is_terminal
    console = Console(width=max(200, shutil.get_terminal_size().columns) if piped else None, highlight=False)
    heading = escape(visible(title)) or None
    shown = Table(
        title=heading,
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in table.columns:
        numeric = table[name].dtype.kind in "fiu"
        shown.add_column(escape(visible(str(name))), justify="right" if numeric else "left", no_wrap=True)
    for row in table.itertuples(index=False):
        shown.add_row(*(_cell(value, digits) for value in row))
    console.print(shown)


def _cell(value: object, digits: int) -> str:
    from rich.markup import escape

    from attention_analyzer.text.visible import visible

    if isinstance(value, float):
        return "–" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 (NaN is not itself)
    return escape(visible(str(value)))
