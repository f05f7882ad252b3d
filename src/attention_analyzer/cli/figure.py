"""``attn figure``: one head, all heads of a layer, or a layer × head map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from attention_analyzer.cli.options import Device, Head, Layer, Model, Text, Truncate, analyzer_for, read_text, working


def figure(
    text: Text,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: PNG, SVG or PDF.")] = Path(
        "attention.png"
    ),
    model: Model = None,
    layer: Layer = None,
    head: Head = None,
    metric: Annotated[str, typer.Option(help="What the layer × head map shows.")] = "entropy",
    stack: Annotated[str | None, typer.Option(help="encoder, decoder, vision … where layers are not unique.")] = None,
    kind: Annotated[Literal["self", "cross"] | None, typer.Option(help="self or cross.")] = None,
    log: Annotated[bool | None, typer.Option("--log/--linear", help="Scale of the colours.")] = None,
    truncate: Truncate = False,
    device: Device = "auto",
) -> None:
    """Draw a head (--layer and --head), a layer (--layer), or a map of all heads by a metric."""
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, head_figure, layer_figure, map_figure, save_figure

    check_figure_path(output)
    if head is not None and layer is None:
        raise InputError("A head is drawn with --layer and --head; only --head was given.")
    analyzer = analyzer_for(model, device)
    with working("Drawing"):
        record = analyzer.record(read_text(text), truncate=truncate)
        if layer is None:
            drawn = map_figure(record, metric, stack=stack, kind=kind)
        elif head is None:
            drawn = layer_figure(record, layer, stack=stack, kind=kind, log=log)
        else:
            drawn = head_figure(record, layer, head, stack=stack, kind=kind, log=log)
        save_figure(drawn, output)
    print(f"Written to {output}")
