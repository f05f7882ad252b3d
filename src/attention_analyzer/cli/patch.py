"""``attn patch``: which activations of a clean run bring the prediction of a corrupted one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import say
from attention_analyzer.cli.effects import Position, Target, Versus, token
from attention_analyzer.cli.options import Device, FigureFile, Model, Output, Truncate, analyzer_for, choice

if TYPE_CHECKING:
    from attention_analyzer.mechanism.patching import What


def patch(
    clean: Annotated[str, typer.Argument(metavar="CLEAN", help="The text whose activations are put in.")],
    corrupted: Annotated[str, typer.Argument(metavar="CORRUPTED", help="A text of as many tokens.")],
    *,
    what: Annotated[
        str,
        typer.Option(
            help="heads, queries, keys, values, mlps or residual.",
            parser=choice("heads", "queries", "keys", "values", "mlps", "residual"),
        ),
    ] = "heads",
    into: Annotated[str | None, typer.Option(help="Only paths into this head, such as L4H2, or logits.")] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Estimate by gradients; a sample is exact.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="Heads patched exactly with --approximate.")] = 8,
    target: Target = None,
    versus: Versus = None,
    position: Position = None,
    top: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 15,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    device: Device = "auto",
) -> None:
    """Patch activations of a clean run into a corrupted one.

    Puts one activation after the other of the clean text's run into the run of the corrupted text and shows how much of
    the prediction comes back: 0 is the corrupted run, 1 the clean one.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    analyzer = analyzer_for(model, device)
    with counting("Patching", "patches") as progress:
        found = analyzer.patch(
            clean,
            corrupted,
            what=cast("What", what),
            into=into,
            approximate=approximate,
            sample=sample,
            target=token(target),
            versus=token(versus),
            position=position,
            truncate=truncate,
            progress=progress,
        )
    table = found.to_frame()
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    else:
        for fact in found.facts():
            say(fact)
        hidden = ["stack", "kind", "layer", "head"]
        print_table(table.drop(columns=[name for name in hidden if name in table]).head(top), digits=4)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
