"""``attn circuit``: a small set of heads that does what the model does on pairs of texts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import remark, say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    Errors,
    FigureFile,
    Model,
    Output,
    Truncate,
    analyzer_for,
    read_text,
)

if TYPE_CHECKING:
    from attention_analyzer.mechanism.circuit import PairLike


def circuit(
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Pairs, one per line: clean, corrupted and, if you like, target and versus, with tabs between them; "
            'or JSON lines {"clean": …, "corrupted": …, "target": …, "versus": …}.',
        ),
    ],
    *,
    faithfulness: Annotated[float, typer.Option(help="How much of the metric the circuit must keep.")] = 0.8,
    controls: Annotated[int, typer.Option(min=0, help="Random sets of heads that are measured.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the random sets and intervals.")] = 0,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Find a small set of heads that does what the model does.

    Half of the pairs find the circuit; faithfulness, what is lost without each head, the other heads and random sets
    are measured on the other half.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    lines = [line for line in read_text(pairs, encoding).splitlines() if line.strip()]
    read = [_pair(number, line) for number, line in enumerate(lines, 1)]
    analyzer = analyzer_for(model, device)
    with counting("Measuring sets of heads", "sets") as progress:
        found = analyzer.circuit(
            read,
            faithfulness=faithfulness,
            controls=controls,
            seed=seed,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )
    remark(found)
    for fact in found.facts():
        say(fact)
    if output is not None:
        write_table(found.heads, output)
        say(f"{len(found.heads)} rows written to {output}")
    else:
        print_table(found.heads[["component", "lost", "low", "high"]])
        if len(found.edges):
            print_table(found.edges.sort_values("lost", ascending=False).head(10))
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Drawn in {figure}")


def _pair(number: int, line: str) -> PairLike:
    from attention_analyzer.errors import InputError

    parts: list[str] = line.split("\t")
    if line.lstrip().startswith("{"):
        try:
            entry = json.loads(line)
            parts = [str(entry[name]) for name in ("clean", "corrupted", "target", "versus") if name in entry]
        except ValueError:
            parts = []
    if len(parts) == 2:
        return parts[0], parts[1]
    if len(parts) == 4:
        return parts[0], parts[1], parts[2], parts[3]
    raise InputError(
        f"Line {number} is not a pair: write clean and corrupted text, and if you like target and versus, with tabs "
        "between them, or one JSON object."
    )
