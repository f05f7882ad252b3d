"""The one place where commands write text: nothing that came from outside can steer the terminal.

Texts, tokens, file names and labels may hold terminal escapes, letters that reverse the line, and other characters that
show nothing; here they become visible marks (:func:`.visible`). Commands print through :func:`say` and
:func:`complain`, and tables through :func:`.cli.tables.print_table`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from attention_analyzer.text.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.result import Result

_PACKAGE = str(Path(__file__).resolve().parent.parent)


def say(text: object = "") -> None:
    """Write a text, which may have several lines, on standard output."""
    print(safe(str(text)))


def complain(text: object) -> None:
    """Write one sentence about an error or a warning on standard error, in one line."""
    print(f"attn: {visible(str(text))}", file=sys.stderr)


def remark(found: Result) -> None:
    """Write on standard error what a table does not show: numbers that rest on too little, and what was left out."""
    for caution in found.cautions():
        complain(caution)
    complain_of(found.problems)


def complain_of(problems: pd.DataFrame) -> None:
    """Write on standard error which of many texts were left out, and why."""
    for index, text, reason in problems.itertuples(index=False):
        complain(f"left out: text {index}, counted from 0 ({text!r}): {reason}")


def safe(text: str) -> str:
    """The text with its line ends and indentation, and everything else that does not show as visible marks."""
    return "\n".join(visible(line) if line.strip(" ") else line for line in text.split("\n"))


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    """Replaces ``warnings.showwarning``: this package's warnings are for a person, who needs no line of code."""
    if category.__module__.startswith("attention_analyzer") or filename.startswith(_PACKAGE):
        complain(message)
    else:
        print(safe(warnings.formatwarning(message, category, filename, lineno).rstrip("\n")), file=sys.stderr)
