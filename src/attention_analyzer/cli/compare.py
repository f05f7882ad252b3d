"""``attn compare``: where the attention of two models differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import remark, say
from attention_analyzer.cli.options import Device, Encoding, Errors, Text, Truncate, analyzer_for, read_text

_SHOWN = ["head", "divergence", "low", "high", "entropy_change", "distance_change", "first_weight_change", "matched"]


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Model name, local folder or Hugging Face id.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A second model; repeat the first to compare two texts.")],
    text: Text,
    *,
    other_text: Annotated[str | None, typer.Option("--other-text", help="Text for the second model.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="A further model; with three or more, metrics are compared by depth."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Table (.csv, .parquet, .json), figure (.png, .svg, .pdf) or .html page."),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Read the file as one text per line; adds confidence intervals.")
    ] = False,
    match: Annotated[
        Literal["auto", "index", "assignment"],
        typer.Option(help="How to pair heads: by layer and head index, or by attention similarity."),
    ] = "auto",
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Compare two models or two texts.

    What changed most, in words, as a table, a figure or a page.
    """
    from attention_analyzer.comparison import compare as compare_two
    from attention_analyzer.comparison import compare_models
    from attention_analyzer.comparison.report import head_name
    from attention_analyzer.errors import InputError

    _check(output)
    texts = _texts(text, lines, encoding)
    models = [analyzer_for(name, device) for name in dict.fromkeys((first, second, *(also or [])))]
    if also:
        if other_text is not None or (output is not None and output.suffix.lower() == ".html"):
            raise InputError(
                "With three or more models, write a table or a figure; --other-text and .html need two models."
            )
        with counting("Comparing", "texts") as progress:
            several = compare_models(models, texts=texts, truncate=truncate, errors=errors, progress=progress)
        remark(several)
        _write(output, several.layers, several.plot, None)
        if output is None:
            _print(several.divergence.rename_axis("divergence (nats)").reset_index())
            _print(several.layers[["model", "stack", "kind", "layer", "entropy", "distance", "first_weight"]])
        return
    with counting("Comparing", "texts") as progress:
        found = compare_two(
            models[0],
            models[-1],
            texts=texts,
            other_texts=None if other_text is None else _texts(other_text, lines, encoding),
            match=match,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )
    remark(found)
    say(found.report())
    _write(output, found.heads, found.plot, found.to_html)
    if output is None:
        names = [head_name(row) for row in found.heads.itertuples()]
        _print(found.heads.head(12).assign(head=names[:12])[_SHOWN])


def _texts(argument: str, lines: bool, encoding: str | None) -> list[str]:
    from attention_analyzer.errors import InputError

    content = read_text(argument, encoding)
    texts = [line for line in content.splitlines() if line.strip()] if lines else [content]
    if not texts:
        raise InputError("The input has no text; at least one line with a visible character is needed.")
    return texts


def _check(output: Path | None) -> None:
    """Refuse a file name before any work is done for it."""
    from attention_analyzer.cli.tables import check_format
    from attention_analyzer.view.figures import FORMATS

    if output is not None and output.suffix.lower() not in (*FORMATS, ".html"):
        check_format(output)


def _write(output: Path | None, table: object, plot: object, page: object) -> None:
    import pandas as pd

    from attention_analyzer.cli.tables import write_table
    from attention_analyzer.view.figures import FORMATS, save_figure

    if output is None:
        return
    assert isinstance(table, pd.DataFrame) and callable(plot)
    if output.suffix.lower() in FORMATS:
        save_figure(plot(), output)
    elif output.suffix.lower() == ".html":
        assert callable(page)
        page(output)
    else:
        write_table(table, output)
    say(f"Written to {output}")


def _print(table: object) -> None:
    import pandas as pd

    from attention_analyzer.cli.tables import print_table

    assert isinstance(table, pd.DataFrame)
    print_table(table)
