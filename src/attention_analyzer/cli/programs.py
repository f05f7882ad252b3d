"""``attn programs``: what every head does, in a sentence that is tested on other texts."""

from __future__ import annotations

from typing import Annotated

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
    Text,
    Truncate,
    analyzer_for,
    read_text,
)


def programs(
    text: Text,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Also fit programs to the same model with random weights, as a control.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Measure the predictions while heads follow their programs.")
    ] = False,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Say what each head does in a sentence.

    Each line is a text. Programs (mixtures of rules such as "the token before") are fitted on every second text and
    scored on the others; six texts are the fewest, a hundred give narrow intervals.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    texts = [line for line in read_text(text, encoding).splitlines() if line.strip()]
    analyzer = analyzer_for(model, device)
    with counting("Fitting and scoring programs", "texts") as progress:
        found = analyzer.programs(texts, untrained=untrained, truncate=truncate, errors=errors, progress=progress)
    remark(found)
    left_out = set(found.problems["index"])
    texts = [text for index, text in enumerate(texts) if index not in left_out]
    if output is not None:
        write_table(found.table, output)
        say(f"{len(found.table)} rows written to {output}")
    else:
        say(f"{analyzer.name}: what each head does, and how much of its weight that explains on texts not fitted on")
        several = found.table[["stack", "kind"]].drop_duplicates().shape[0] > 1
        for row in found.table.itertuples():
            place = f"{row.stack} {row.kind} " if several else ""
            name = f"{place}L{row.layer}H{row.head}"
            say(f"{name:<6} {row.explained:4.0%} (evenly spread {row.even:.0%})  {row.sentence}")
    for fact in found.facts():
        say(fact)
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
    if replace:
        with counting("Replacing heads", "forwards") as progress:
            replaced = analyzer.replace_by_program(
                found, texts[1::2], truncate=truncate, errors=errors, progress=progress
            )
        print_table(replaced.table, title=f"{replaced.unit.capitalize()}, heads replaced best explained first")
