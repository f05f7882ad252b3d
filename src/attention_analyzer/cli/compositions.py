"""``attn compositions``: which heads read what which earlier heads write, from the weights alone."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Device, FigureFile, Model, Output, analyzer_for


def compositions(
    *,
    into: Annotated[str | None, typer.Option(help="Only what this head reads, such as L4H2.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 15,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    device: Device = "auto",
) -> None:
    """Score which heads feed which later heads.

    Compares what each head writes with what later heads read as queries, keys and values, from the weights alone. Each
    score stands beside the score of heads that meet at random.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    analyzer = analyzer_for(model, device)
    with counting("Scoring", "layers") as progress:
        found = analyzer.compositions(into=into, progress=progress)
    table = found.to_frame()
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        for fact in found.facts():
            say(fact)
        print_table(table.head(top), digits=4)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
