"""``attn writes``: which tokens a head promotes for each token that it could read."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.effects import Position, Second
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    FigureFile,
    Model,
    Output,
    Stack,
    Text,
    Truncate,
    analyzer_for,
    choice,
    read_text,
)


def writes(
    text: Text,
    *,
    layer: Annotated[int, typer.Option("--layer", "-l", help="Layer, counted from zero.")],
    head: Annotated[int, typer.Option("--head", "-H", help="Head, counted from zero.")],
    position: Position = None,
    named: Annotated[int, typer.Option(min=1, help="Promoted and suppressed tokens that are named.")] = 5,
    stack: Stack = None,
    kind: Annotated[str, typer.Option(help="Attention type: self or cross.", parser=choice("self", "cross"))] = "self",
    second: Second = None,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Show which tokens a head promotes.

    For each token of the text: the tokens whose logits rise most if the head reads that token alone. Says how much the
    head copies, compared with the other tokens of the text.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    content = read_text(text, encoding)
    analyzer = analyzer_for(model, device)
    with working("Reading the head"):
        found = analyzer.writes(
            content if second is None else (content, second),
            layer,
            head,
            position=position,
            top=named,
            stack=stack,
            kind="cross" if kind == "cross" else "self",
            truncate=truncate,
        )
    table = found.to_frame()
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        for fact in found.facts():
            say(fact)
        print_table(table[["position", "token", "weight", "promoted", "promoted_by", "own_rank"]], digits=3)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
