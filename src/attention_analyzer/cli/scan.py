"""``attn scan``: the table of all heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import complain, complain_of, say
from attention_analyzer.cli.options import (
    Audio,
    Device,
    Encoding,
    Errors,
    Images,
    Layer,
    Model,
    OptionalText,
    Output,
    Truncate,
    Video,
    analyzer_for,
    media_of,
    read_text,
    record_file,
    record_of,
)
from attention_analyzer.result import problem_table
from attention_analyzer.site import head_rows

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.errors import OnError

#: What a terminal has room for; files get every metric.
_SHOWN = ["mean_weight", "max_weight", "min_weight", "entropy", "effective_keys", "distance", "self_weight"]
_SHOWN += ["previous_weight", "next_weight", "first_weight", "special_weight"]


def scan(
    text: OptionalText = None,
    *,
    image: Images = None,
    audio: Audio = None,
    video: Video = None,
    model: Model = None,
    output: Output = None,
    layer: Layer = None,
    sort: Annotated[str, typer.Option(help="Column to sort by; prefix - for descending order.")] = "layer",
    lines: Annotated[
        bool, typer.Option("--lines", help="Read the file as one text per line and report means.")
    ] = False,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Compute per-head metrics for a text, image or sound.

    One row per head, to the terminal or to a CSV, Parquet or JSON file.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.errors import InputError, SelectionError

    check_format(output)
    if media_of(image, audio, video) or text is None:
        if lines:
            raise InputError("--lines reads a file of texts; leave it out with --image, --audio or --video.")
        record = record_of(text, model, device, truncate, encoding, images=image or (), audio=audio, video=video)
        table, name = record.heads(), record.model_name
    else:
        table, name = _measured(text, model, device, lines, truncate, errors, encoding)
    if layer is not None:
        last = table["layer"].max()
        table = head_rows(table, layer)
        if table.empty:
            raise SelectionError(f"There is no layer {layer}; the layers are 0 to {last}.")
    column = sort.removeprefix("-")
    if column not in table.columns:
        raise InputError(f"There is no column {column!r}; the columns are {', '.join(table.columns)}.")
    table = table.sort_values(column, ascending=not sort.startswith("-"), kind="stable")
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} heads written to {output}")
        return
    several = table["stack"].nunique() > 1 or table["kind"].nunique() > 1
    names = (["stack", "kind"] if several else []) + ["layer", "head", *_SHOWN]
    print_table(table[names], title=f"{name}: {len(table)} heads")


def _measured(
    text: str, model: str | None, device: str, lines: bool, truncate: bool, errors: OnError, encoding: str | None
) -> tuple[pd.DataFrame, str]:
    """The table of all heads, and the model's name."""
    from attention_analyzer.cache_folder import default_folder
    from attention_analyzer.errors import InputError
    from attention_analyzer.models.locating import offline_model
    from attention_analyzer.table_cache import TableCache

    record = record_file(text, model, truncate, encoding)
    if record is not None:
        if lines:
            raise InputError(f"{text} is a record of one text; leave out --lines.")
        return record.heads(), record.model_name or text
    content = read_text(text, encoding)
    texts = [line for line in content.splitlines() if line.strip()] if lines else [content]
    if not texts:
        raise InputError("The input has no text; at least one line with a visible character is needed.")
    # A table that was computed before needs neither torch nor the model; what comes with a remark is computed again.
    known = None if truncate else offline_model(model)
    cache = TableCache(default_folder())
    key = "" if known is None else cache.key(known.folder, texts, {"device": device})
    if known is not None and (kept := cache.get(key)) is not None:
        if known.remark:
            complain(known.remark)
        return kept, known.name
    analyzer = analyzer_for(model, device)
    with working("Computing metrics"):
        table = analyzer.heads(texts, truncate=truncate, errors=errors)
    problems = table.attrs.pop("problems", ())
    complain_of(problem_table(row.values() for row in problems))
    table = table.drop(columns="text")
    keys = ["stack", "kind", "layer", "head"]
    table = table.groupby(keys, sort=False, as_index=False).mean() if len(texts) > 1 else table
    if known is not None and not problems:
        cache.put(key, table)
    return table, analyzer.name
