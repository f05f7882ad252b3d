"""``attn heads``: what heads are to one another and to the model, one view a sub-command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import remark, say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    Errors,
    FigureFile,
    Kind,
    Model,
    Output,
    Stack,
    Truncate,
    analyzer_for,
    choice,
    read_text,
)

if TYPE_CHECKING:
    import pandas as pd

heads = typer.Typer(help="Compare, rank and prune heads.", no_args_is_help=True)

Texts = Annotated[
    str,
    typer.Argument(
        metavar="FILE|TEXT|-", help="File with one text per line, - for standard input, or the text itself."
    ),
]
Method = Annotated[
    Literal["gradient", "ablation"],
    typer.Option(
        parser=choice("gradient", "ablation", silence="ablation"),
        metavar="[gradient|ablation]",
        help="gradient of the loss, or ablating heads.",
    ),
]
Mean = Annotated[bool, typer.Option("--mean", help="Replace the head's output by its mean instead of zero.")]


@heads.command()
def similarity(
    texts: Texts,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    stack: Stack = None,
    kind: Kind = None,
    clusters: Annotated[
        int | None, typer.Option(min=2, help="Number of clusters (default: chosen by silhouette).")
    ] = None,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Find clusters of similar heads.

    Also which heads are redundant, outliers or complementary. Needs at least three texts.
    """
    from attention_analyzer.cli.tables import print_table

    _check(output, figure)
    lines = read_lines(texts, encoding)
    analyzer = analyzer_for(model, device)
    with counting("Comparing heads", "texts") as progress:
        found = analyzer.similarity(
            lines, stack=stack, kind=kind, clusters=clusters, truncate=truncate, errors=errors, progress=progress
        )
    remark(found)
    if not _written(found.table, found, output, figure):
        columns = ["name", "cluster", "stable", "nearest", "distance", "low", "high"]
        print_table(found.table[columns], title=f"{analyzer.name}: {found.place}-attention, {found.texts} texts")
    agreed = f"silhouette {found.clusters.silhouette:.2f}, bootstrap stability {found.clusters.stability:.2f}"
    say(f"Clusters: {found.clusters.labels.max() + 1} ({agreed})")
    say(f"Redundant: {'; '.join(' '.join(group) for group in found.groups) or 'none'}")
    say(f"Outliers: {' '.join(found.specialised) or 'none'}")
    best = found.complementary.head(5)
    pairs = [f"{row.first}+{row.second} {row.together:.0%}" for row in best.itertuples()]
    say(f"Complementary: {', '.join(pairs) or 'none'}" + (f" … {len(found.complementary)}" if len(pairs) > 4 else ""))


@heads.command()
def importance(
    texts: Texts,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    method: Method = "gradient",
    sets: Annotated[
        list[str] | None, typer.Option("--heads", help="Heads to ablate together, such as L4H2-3; repeatable.")
    ] = None,
    mean: Mean = False,
    measure: Annotated[Literal["loss", "logits"], typer.Option(help="Measure to report.")] = "loss",
    seed: Annotated[int, typer.Option(help="Seed for masking tokens (masked language models only).")] = 0,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Rank heads by how much the model needs them."""
    from attention_analyzer.cli.tables import print_table

    _check(output, figure)
    lines = read_lines(texts, encoding)
    analyzer = analyzer_for(model, device)
    with counting("Measuring importance", "forwards") as progress:
        found = analyzer.head_importance(
            lines,
            method,
            heads=sets,
            ablation="mean" if mean else "zero",
            measure=measure,
            seed=seed,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )
    remark(found)
    if not _written(found.table, found, output, figure):
        columns = ["heads", "importance", "low", "high", *(["normalized"] if method == "gradient" else [])]
        table = found.table.sort_values("importance", ascending=False)[columns]
        print_table(table, title=f"{analyzer.name}: {found.meaning}; {found.texts} texts", digits=4)
    say(f"Baseline (no ablation): {found.measure} {found.plain:.4f}")


@heads.command()
def pruning(
    texts: Texts,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    method: Method = "gradient",
    mean: Mean = False,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Ablate more and more heads.

    The least important first, compared with random orders. Needs at least four texts.
    """
    from attention_analyzer.cli.tables import print_table

    _check(output, figure)
    lines = read_lines(texts, encoding)
    analyzer = analyzer_for(model, device)
    with counting("Ablating heads", "forwards") as progress:
        found = analyzer.pruning_curve(
            lines, method, ablation="mean" if mean else "zero", truncate=truncate, errors=errors, progress=progress
        )
    remark(found)
    if not _written(found.table, found, output, figure):
        print_table(found.table, title=f"{analyzer.name}: {found.measure}; {found.texts} texts")


@heads.command()
def depth(
    texts: Texts,
    *,
    model: Model = None,
    output: Output = None,
    figure: FigureFile = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Draw metrics by layer instead of the composition of the weight.")
    ] = False,
    truncate: Truncate = False,
    errors: Errors = "raise",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Show how heads change with depth.

    Where the weight goes, or every metric (--metrics). A .conllu file adds the weight along the syntax.
    """
    from attention_analyzer.cli.tables import print_table
    from attention_analyzer.linguistics import read_annotated

    _check(output, figure)
    given = list(read_annotated(texts, encoding)) if Path(texts).suffix == ".conllu" else read_lines(texts, encoding)
    analyzer = analyzer_for(model, device)
    with counting("Measuring layers", "texts") as progress:
        found = analyzer.depth_profile(given, truncate=truncate, errors=errors, progress=progress)
    remark(found)
    table = found.table if metrics else found.profile
    drawn = found.plot_metrics if metrics else found.plot
    if not _written(table, drawn, output, figure):
        print_table(table, title=f"{analyzer.name}: {found.texts} texts")


def read_lines(argument: str, encoding: str | None = None) -> list[str]:
    """The texts meant: a file's or standard input's lines, or the argument itself."""
    lines = [line.strip() for line in read_text(argument, encoding).splitlines()]
    return [line for line in lines if line]


def _check(output: Path | None, figure: Path | None) -> None:
    from attention_analyzer.cli.tables import check_format
    from attention_analyzer.view.figures import check_figure_path

    check_format(output)
    if figure is not None:
        check_figure_path(figure)


def _written(table: pd.DataFrame, found: Any, output: Path | None, figure: Path | None) -> bool:
    """Whether the table went to a file instead of the terminal; the figure is drawn in either case."""
    from attention_analyzer.cli.tables import write_table
    from attention_analyzer.view.figures import save_figure

    if figure is not None:
        save_figure(found() if callable(found) else found.plot(), figure)
        say(f"Figure saved to {figure}")
    if output is None:
        return False
    write_table(table, output)
    say(f"{len(table)} rows written to {output}")
    return True
