"""``attn atlas``: a whole model as a folder of static pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import complain_of, say
from attention_analyzer.cli.options import Device, Encoding, Errors, Model, Truncate, analyzer_for, read_text
from attention_analyzer.result import problem_table


def atlas(
    source: Annotated[
        str, typer.Argument(help="A corpus store, or a file (or text) with a text in each line.", metavar="STORE|FILE")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pages.")],
    model: Model = None,
    compare_model: Annotated[
        str | None, typer.Option("--compare-model", help="A second model, shown side by side with heads matched.")
    ] = None,
    limit: Annotated[int, typer.Option(min=6, help="Texts at most, taken evenly from all.")] = 10_000,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Write a map of all heads with a page for each.

    The folder opens in any browser, offline: a map with axes to choose, search by what heads do, and for every head its
    program, label, similar heads, the effect of knocking it out, and texts from the top, middle and bottom of its
    distribution; a JSON per head for other programs.
    """
    from attention_analyzer.atlas import is_store, store_texts
    from attention_analyzer.corpus import Corpus

    from_store = is_store(source)
    analyzer = analyzer_for(model or (Corpus.load(source).manifest.model if from_store else None), device)
    if from_store:
        texts = store_texts(source, analyzer.loaded, limit)
    else:
        lines = [line for line in read_text(source, encoding).splitlines() if line.strip()]
        texts = list(lines[:: max(1, len(lines) // limit)][:limit])
    other = None if compare_model is None else analyzer_for(compare_model, device)
    with counting("Fitting and scoring programs", "texts") as progress:
        page = analyzer.atlas(texts, output, other=other, truncate=truncate, errors=errors, progress=progress)
    left_out = json.loads((page.parent / "atlas.json").read_text(encoding="utf-8"))["problems"]
    complain_of(problem_table(row.values() for row in left_out))
    say(f"Open {page} in a browser")
