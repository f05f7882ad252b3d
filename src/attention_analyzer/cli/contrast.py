"""``attn contrast``: the directions by which a head tells pairs of one's own from other pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Device, Encoding, FigureFile, Model, Output, Stack, analyzer_for


def contrast(
    file: Annotated[Path, typer.Argument(help="Pairs of your own: .jsonl with text, from, to and relation.")],
    *,
    layer: Annotated[int, typer.Option("--layer", "-l", help="Layer, counted from zero.")],
    head: Annotated[int, typer.Option("--head", "-H", help="Head, counted from zero.")],
    relation: Annotated[str | None, typer.Option(help="Only pairs of this relation.")] = None,
    directions: Annotated[int, typer.Option(min=1, help="How many directions.")] = 3,
    stack: Stack = None,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Find the directions by which a head picks pairs.

    Half of the texts are used to find them. On the others each direction is removed from the head's queries, and random
    directions for comparison.
    """
    from dataclasses import replace

    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.linguistics import read_annotated
    from attention_analyzer.mechanism import token_pairs
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    texts = [
        replace(text, pairs=tuple(pair for pair in text.pairs if relation in (None, pair.relation)))
        for text in read_annotated(file, encoding)
    ]
    analyzer = analyzer_for(model, device)
    with counting("Reading", "texts") as progress:
        found = analyzer.contrast(
            [text.text for text in texts],
            [token_pairs(text) for text in texts],
            layer,
            head,
            directions=directions,
            stack=stack,
            progress=progress,
        )
    table = found.to_frame()
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        for fact in found.facts():
            say(fact)
        print_table(table, digits=3)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
