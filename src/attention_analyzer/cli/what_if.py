"""``attn what-if``: the prediction with some attention otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    FigureFile,
    Model,
    Output,
    Text,
    Truncate,
    analyzer_for,
    read_text,
)

if TYPE_CHECKING:
    from attention_analyzer.interventions import WhatIf


def what_if(
    text: Text,
    *,
    knock_out: Annotated[
        list[str] | None,
        typer.Option("--knock-out", "-k", help="Edges to remove, such as 'L2H5:7>3' or 'L2:*>0' (quoted); repeatable."),
    ] = None,
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            "--ablate", "--silence", "-s", help="Heads to ablate, such as L2H5, L2 or decoder.cross.L1; repeatable."
        ),
    ] = None,
    patch: Annotated[
        list[str] | None,
        typer.Option(
            "--patch",
            "--replace",
            "-r",
            help="HEADS=uniform, HEADS=first or HEADS=a text with as many tokens; repeatable.",
        ),
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Replace the head's output by its mean instead of zero.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(help="File with texts for the mean, one per line (default: the text itself).")
    ] = None,
    second: Annotated[str | None, typer.Option("--second", help="The pair's second text, or the target text.")] = None,
    target: Annotated[str | None, typer.Option(help="Token or class to follow (default: the most likely).")] = None,
    position: Annotated[int | None, typer.Option(help="Position of the prediction (default: the last).")] = None,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Ablate heads or knock out attention.

    Knocks out attention edges, ablates heads or patches their patterns, and shows the prediction before and after.

    Without any change the text's positions and the prediction are shown.
    """
    from attention_analyzer.cli.tables import check_format, write_table
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    if reference is not None and not mean:
        raise InputError("--reference needs --mean.")
    content = read_text(text, encoding)
    references = [] if reference is None else _lines(reference, encoding)
    replacements = dict(_replacement(each) for each in patch or ())
    analyzer = analyzer_for(model, device)
    with working("Running the intervention"):
        found = analyzer.what_if(
            content if second is None else (content, second),
            knock_out=knock_out or (),
            ablate=ablate or (),
            patch=replacements,
            ablation="mean" if mean else "zero",
            reference=references,
            target=int(target) if target is not None and target.isdigit() else target,
            position=position,
            truncate=truncate,
        )
    _show(found, changed=bool(knock_out or ablate or patch))
    if output is not None:
        write_table(found.positions, output)
        say(f"{len(found.positions)} positions written to {output}")
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")


def _show(found: WhatIf, changed: bool) -> None:
    from attention_analyzer.cli.tables import print_table

    if not changed:
        columns = [name for name in ("position", "token", "before") if name in found.positions]
        print_table(found.positions[columns].rename(columns={"before": "prediction"}), title=found.model_name)
        return
    say(found)
    if found.log_probability is not None:
        old, new = found.log_probability
        say(f"Log-probability of the whole text: {old:.3f} before, {new:.3f} after (nats).")
    print_table(found.table, digits=4)


def _lines(path: Path, encoding: str | None) -> list[str]:
    return [line for line in read_text(str(path), encoding).splitlines() if line.strip()]


def _replacement(argument: str) -> tuple[str, str]:
    from attention_analyzer.errors import InputError

    heads, equals, how = argument.partition("=")
    if not (equals and heads.strip() and how.strip()):
        raise InputError(f"{argument!r} is not a replacement; write HEADS=uniform, HEADS=first or HEADS=another text.")
    return heads.strip(), how.strip()
