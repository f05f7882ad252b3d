"""``attn patterns``: what every head does, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.patterns.labels import HeadLabels

_LABELED = ["head", "pattern", "strength", "low", "high", "chance", "position", "q", "which", "measured_on"]
_IN_ONE_TEXT = ["head", "pattern", "strength", "chance", "position", "corrected", "which"]


def patterns(
    text: Text,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    pattern: Annotated[list[str] | None, typer.Option(help="Only this pattern; repeatable.")] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Also require labels to beat a randomly initialized model.")
    ] = False,
    probes: Annotated[
        bool,
        typer.Option(
            "--probes/--no-probes", help="Also score induction-type heads on synthetic random-token sequences."
        ),
    ] = True,
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="False discovery rate.")] = 0.05,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Label heads (induction, sink, …).

    Each line is a text; three or more of them give labels with intervals.

    With fewer texts it says what each head shows in the first of them, which is no proof of what it does.
    A file (--output) gets every head and pattern, the terminal those that were named.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.errors import InputError
    from attention_analyzer.patterns import PATTERNS, pattern_named
    from attention_analyzer.patterns.labels import FEWEST_TEXTS
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    chosen = [pattern_named(name) for name in pattern] if pattern else PATTERNS
    content = read_text(text, encoding)
    texts = [line for line in content.splitlines() if line.strip()]
    several = len(texts) >= FEWEST_TEXTS
    if not several and (figure is not None or untrained):
        raise InputError(
            f"--figure and --untrained need at least {FEWEST_TEXTS} texts, one per line; {len(texts)} given."
        )
    analyzer = analyzer_for(model, device)
    with counting("Scoring patterns", "steps") as progress:
        if several:
            found = analyzer.label_heads(
                texts,
                patterns=chosen,
                level=level,
                probes=probes,
                untrained=untrained,
                truncate=truncate,
                errors=errors,
                progress=progress,
            )
            remark(found)
            table = found.table
        else:
            table = analyzer.record(content, truncate=truncate).patterns(chosen)
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    elif several:
        print_table(
            _named(table[table["label"]])[_LABELED], title=f"{analyzer.name}: {len(texts) - len(found.problems)} texts"
        )
        say(_summary(found))
    else:
        print_table(_named(table[table["shows"]])[_IN_ONE_TEXT], title=f"{analyzer.name}: one text")
        say(
            f"Scores on one text do not establish what a head does; a file of {FEWEST_TEXTS} or more lines gives "
            "labels."
        )
    if figure is not None:
        save_figure(found.plot(), figure)
        say(f"Figure saved to {figure}")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """With heads as L5H1, and the stack before it where there are several."""
    several = table[["stack", "kind"]].drop_duplicates().shape[0] > 1
    places = zip(table["stack"], table["kind"], table["layer"], table["head"], strict=True)
    names = [
        f"{stack} {kind} L{layer}H{head}" if several else f"L{layer}H{head}" for stack, kind, layer, head in places
    ]
    return table.assign(head=names)


def _summary(found: HeadLabels) -> str:
    named = int((found.heads["name"] != "").sum())
    return f"{named} of {len(found.heads)} heads labeled; at most {found.level:.0%} of labels are expected to be false."
