"""``attn parts``: how a text is divided, and the attention between its parts."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    FigureFile,
    Head,
    Layer,
    Model,
    Output,
    TextOrRecord,
    Truncate,
    record_of,
)


def parts(
    text: TextOrRecord,
    *,
    model: Model = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="word, sentence, paragraph, field, function; of a chat also turn, document, section. "
            "Default: sections of a chat, else sentences."
        ),
    ] = None,
    layer: Layer = None,
    head: Head = None,
    values: Annotated[
        str, typer.Option(help="weights, without_sinks, above_chance, by_size or by_distance.")
    ] = "above_chance",
    output: Output = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Attention between sentences, turns or documents.

    Prints the parts, and a table of attending parts by attended ones: the mean over all heads, or one layer or head. A
    file (--output) gets every head and pair, with what chance would give.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    record = record_of(text, model, device, truncate, encoding)
    divided = record.parts(level)
    found = record.between(divided)
    import pandas as pd

    rows = [(name, divided.sizes[number], divided.shown(number)) for number, name in enumerate(divided.names)]
    print_table(pd.DataFrame(rows, columns=["part", "tokens", "text"]), title=f"{len(divided)} parts ({divided.level})")
    matrix = found.matrix(layer, head, values=values)
    of = "mean over all heads" if layer is None else f"L{layer}" + ("" if head is None else f"H{head}")
    say("")
    print_table(matrix.rename_axis("part").reset_index(), title=f"{values.replace('_', ' ')}, {of}")
    if output is not None:
        table = found.to_frame()
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    if figure is not None:
        save_figure(found.figure(layer=layer, head=head, values=values), figure)
        say(f"Figure saved to {figure}")
