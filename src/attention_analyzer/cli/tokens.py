"""``attn tokens``: how important each token is, by any method."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from attention_analyzer.cli.options import Device, Model, Output, Text, Truncate, analyzer_for, read_text, working


def tokens(
    text: Text,
    *,
    model: Model = None,
    output: Output = None,
    method: Annotated[str, typer.Option(help="How importance is found.")] = "received",
    unit: Annotated[Literal["piece", "word"], typer.Option(help="What is scored.")] = "piece",
    special: Annotated[
        Literal["keep", "apart", "exclude"],
        typer.Option(help="Special tokens: scored like all others, shown apart, or left out."),
    ] = "keep",
    truncate: Truncate = False,
    device: Device = "auto",
) -> None:
    """Say how important each token is: attention received, or an attribution by name."""
    from attention_analyzer.cli.tables import check_format, print_table, write_table

    check_format(output)
    content = read_text(text)
    analyzer = analyzer_for(model, device)
    with working("Scoring the tokens"):
        found = analyzer.token_importance(content, method=method, unit=unit, special=special, truncate=truncate)
    if output is not None:
        write_table(found.table, output)
        print(f"{len(found)} {unit}s written to {output}")
        return
    print(f"{analyzer.name}: {found.title}")
    print_table(found.table, digits=4)
    print(found.special_handling)
