"""``attn show``: a text's attention as one page that opens in any browser, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Audio,
    Device,
    Encoding,
    Images,
    Model,
    OptionalText,
    Truncate,
    Video,
    record_file,
    record_of,
)


def show(
    text: OptionalText = None,
    *,
    image: Images = None,
    audio: Audio = None,
    video: Video = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.html).")] = Path("attention.html"),
    model: Model = None,
    other: Annotated[
        str | None, typer.Option("--other", help="A second model or record, for the Difference view.")
    ] = None,
    queries_and_keys: Annotated[
        bool | None,
        typer.Option("--queries-and-keys/--weights", help="Store queries and keys (needed for the Query–key view)."),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Write an interactive HTML viewer of a text, image or sound.

    One file that opens in any browser, without a network. Images come with --image, a sound with --audio, a film with
    --video.
    """
    from attention_analyzer.errors import InputError

    if output.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"The page {output} must end in .html; attn figure draws PNG, SVG and PDF.")
    if not output.resolve().parent.is_dir():
        raise InputError(f"There is no folder {output.resolve().parent} to write {output.name} to.")
    record = record_of(text, model, device, truncate, encoding, images=image or (), audio=audio, video=video)
    second = None
    if other is not None:
        # The same text by another model, or the record beside a record.
        read = record_file(other, None, False, None)
        second = read or record_of(
            text, other, device, truncate, encoding, images=image or (), audio=audio, video=video
        )
    with working("Writing the page"):
        record.to_html(output, second, queries_and_keys=queries_and_keys)
    say(f"Written to {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if open_it:
        typer.launch(str(output.resolve()))
