"""``attn why``: which components made a head look from one token at another."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.effects import Second
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


def why(
    text: Text,
    *,
    layer: Annotated[int, typer.Option("--layer", "-l", help="Layer, counted from zero.")],
    head: Annotated[int, typer.Option("--head", "-H", help="Head, counted from zero.")],
    query: Annotated[int, typer.Option("--query", "-q", help="Position that looks; -1 is the last.")],
    key: Annotated[int, typer.Option("--key", "-k", help="Position that is looked at.")],
    stack: Stack = None,
    kind: Annotated[str, typer.Option(help="Attention type: self or cross.", parser=choice("self", "cross"))] = "self",
    second: Second = None,
    top: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 15,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Show why a head looks at a token.

    Splits the attention score of one query and one key into what earlier heads, MLPs and embeddings wrote at the two
    positions. The parts sum to the score.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    content = read_text(text, encoding)
    analyzer = analyzer_for(model, device)
    with working("Splitting the score"):
        found = analyzer.why(
            content if second is None else (content, second),
            layer,
            head,
            query,
            key,
            stack=stack,
            kind="cross" if kind == "cross" else "self",
            truncate=truncate,
        )
    table = found.to_frame()
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        say(found.facts()[0])
        print_table(table.head(top), digits=4)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
