"""``attn effects``: what each head, MLP, embedding and bias adds to a logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    FigureFile,
    Head,
    Layer,
    Model,
    Output,
    Text,
    Truncate,
    analyzer_for,
    read_text,
)

if TYPE_CHECKING:
    from attention_analyzer.mechanism import Effects

Target = Annotated[
    str | None, typer.Option("--target", "-t", help="Token whose logit is explained. Default: the most probable.")
]
Versus = Annotated[str | None, typer.Option(help="Token whose logit is subtracted.")]
Position = Annotated[int | None, typer.Option(help="Position of the prediction (default: the last).")]
Second = Annotated[str | None, typer.Option("--second", help="The pair's second text, or the target text.")]


def effects(
    text: Text,
    *,
    target: Target = None,
    versus: Versus = None,
    position: Position = None,
    second: Second = None,
    layer: Layer = None,
    head: Head = None,
    top: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 20,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Show what each head adds to a prediction.

    Splits a logit, or the difference of two, into what each head, MLP, embedding and bias adds to it directly. The
    parts sum to the logit.

    With --layer and --head, shows what that head moved from each source token.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    if (layer is None) != (head is None):
        raise InputError("--layer and --head name one head together; give both or neither.")
    content = read_text(text, encoding)
    analyzer = analyzer_for(model, device)
    with working("Splitting the logit"):
        found = analyzer.effects(
            content if second is None else (content, second),
            target=token(target),
            versus=token(versus),
            position=position,
            truncate=truncate,
        )
    table = found.to_frame() if layer is None or head is None else found.by_source(layer, head)
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        _show(found)
        columns = ["component", "kind", "effect"] if layer is None else list(table)
        print_table(table[columns].head(top) if layer is None else table[columns], digits=4)
        if layer is None and len(table) > top:
            say(f"… and {len(table) - top} more; --top shows more, --output writes all.")
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")


def _show(found: Effects) -> None:
    for fact in found.facts():
        say(fact)


def token(written: str | None) -> str | int | None:
    """A token as it was typed: digits are its number in the vocabulary."""
    return int(written) if written is not None and written.isdecimal() else written
