"""``attn cache-advice``: what each head of a decoder needs of the KV cache."""

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

_SHOWN = ["head", "role", "retrieval", "first", "last", "kept", "low", "cut"]


def cache_advice(
    text: Text,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    first: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of first tokens to keep (sinks); repeatable.")
    ] = None,
    last: Annotated[list[int] | None, typer.Option(min=1, help="Number of recent tokens to keep; repeatable.")] = None,
    share: Annotated[float, typer.Option(help="Minimum attention weight a streaming head must retain (0–1).")] = 0.95,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Suggest KV-cache eviction per head.

    Measures how much weight each head keeps if only the first and last keys stay. Each line is a (long) text.

    The terminal shows one row per head, a file (--output) one row per head and cache.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.patterns.cache_advice import FIRST, LAST
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    texts = [line for line in read_text(text, encoding).splitlines() if line.strip()]
    analyzer = analyzer_for(model, device)
    with counting("Measuring cache retention", "steps") as progress:
        found = analyzer.cache_advice(
            texts,
            first=first or FIRST,
            last=last or LAST,
            share=share,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )
    remark(found)
    if output is not None:
        write_table(found.table, output)
        say(f"{len(found.table)} rows written to {output}")
    else:
        heads = found.heads
        names = [f"L{layer}H{head}" for layer, head in zip(heads["layer"], heads["head"], strict=True)]
        print_table(
            heads.assign(head=names)[_SHOWN], title=f"{analyzer.name}: {len(texts) - len(found.problems)} texts"
        )
        counts = heads["role"].value_counts()
        say(", ".join(f"{counts.get(role, 0)} {role}" for role in ("streaming", "retrieval", "full")) + " heads.")
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")
