"""``attn figure``: one head, all heads of a layer, a layer × head map, or what a page of the viewer shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Audio,
    Device,
    Encoding,
    Head,
    Images,
    Kind,
    Layer,
    Model,
    OptionalText,
    Stack,
    Truncate,
    Video,
    record_of,
)


def figure(
    text: OptionalText = None,
    *,
    image: Images = None,
    audio: Audio = None,
    video: Video = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.png, .svg, .pdf).")] = Path(
        "attention.png"
    ),
    model: Model = None,
    layer: Layer = None,
    head: Head = None,
    metric: Annotated[str, typer.Option(help="Metric of the layer × head map.")] = "entropy",
    stack: Stack = None,
    kind: Kind = None,
    log: Annotated[bool | None, typer.Option("--log/--linear", help="Color scale.")] = None,
    view: Annotated[
        str | None,
        typer.Option(help="heads, matrix, arcs, text, products, space or picture; or the state of a page, as JSON."),
    ] = None,
    query: Annotated[int | None, typer.Option(help="Query position to highlight (with --view).")] = None,
    key: Annotated[int | None, typer.Option(help="Key position to highlight (with --view).")] = None,
    svg_text: Annotated[
        bool, typer.Option("--svg-text", help="Keep SVG text editable instead of converting it to outlines.")
    ] = False,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Save an attention figure.

    A head (--layer and --head), a layer (--layer), a map of all heads by a metric, or a view (--view).
    """
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, head_figure, layer_figure, map_figure, save_figure

    check_figure_path(output)
    if svg_text and output.suffix.lower() != ".svg":
        raise InputError(f"--svg-text is for SVG files, but {output} is none.")
    state = None if view is None else _state(view, log, query, key)
    if state is None and (query is not None or key is not None):
        raise InputError("--query and --key need --view, for example --view arcs.")
    if state is None and head is not None and layer is None:
        raise InputError("--head needs --layer.")
    record = record_of(text, model, device, truncate, encoding, images=image or (), audio=audio, video=video)
    with working("Drawing"):
        if state is not None:
            drawn = record.figure(layer, head, view=state, stack=stack, kind=kind)
        elif layer is None:
            drawn = map_figure(record, metric, stack=stack, kind=kind)
        elif head is None:
            drawn = layer_figure(record, layer, stack=stack, kind=kind, log=log)
        else:
            drawn = head_figure(record, layer, head, stack=stack, kind=kind, log=log)
        save_figure(drawn, output, svg_text=svg_text)
    say(f"Written to {output}")


def _state(view: str, log: bool | None, query: int | None, key: int | None) -> dict[str, Any]:
    """The state that was meant: a view's name, or a whole state as a page copies it, with what was chosen here."""
    from json import JSONDecodeError, loads

    from attention_analyzer.errors import InputError

    state: Any = {"view": view}
    if view.lstrip().startswith("{"):
        try:
            state = loads(view)
        except JSONDecodeError as error:
            raise InputError(f"--view is not valid JSON: {error}.") from None
    chosen = {"query": query, "key": key, "scale": None if log is None else ("log" if log else "linear")}
    return state | {name: value for name, value in chosen.items() if value is not None}
