"""Arguments that many commands share, and how they become texts and an analyzer."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import working

if TYPE_CHECKING:
    from attention_analyzer.analyzer import AttentionAnalyzer

Text = Annotated[str, typer.Argument(metavar="TEXT|FILE|-", help="A text, a text file, or - for standard input.")]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Bundled name, folder or hub id (attn models). Default: bert-base-uncased."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut what the model has no positions for.")]
Layer = Annotated[int | None, typer.Option("--layer", "-l", help="Layer, counted from zero.")]
Head = Annotated[int | None, typer.Option("--head", "-h", help="Head, counted from zero.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; its suffix says the format.")]


def read_text(argument: str) -> str:
    """The text meant by ``TEXT|FILE|-``.

    Raises:
        InputError: the file cannot be read as UTF-8 text, or the argument looks like a file that is not there.
    """
    from attention_analyzer.errors import InputError

    if argument == "-":
        return sys.stdin.read()
    path = Path(argument)
    try:
        if len(argument) < 1024 and path.is_file():
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{argument} is not UTF-8 text (byte {error.start}); convert it first.") from None
    except (OSError, ValueError):
        return argument
    if path.suffix in {".txt", ".md", ".csv", ".jsonl", ".parquet", ".conllu"} and " " not in argument:
        raise InputError(f"There is no file {argument}; to analyse these words themselves, put a space after them.")
    return argument


def analyzer_for(model: str | None, device: str = "auto") -> AttentionAnalyzer:
    """The analyzer of the model that was named, or of the default; a fallback is said on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        with working("Loading the model"):
            from attention_analyzer.analyzer import AttentionAnalyzer

            analyzer = AttentionAnalyzer(model, device=device)
    for warning in caught:
        if "offline encoder" in str(warning.message):
            print(f"attn: {warning.message}", file=sys.stderr)
    return analyzer
