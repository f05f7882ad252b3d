"""``attn relations``: dependencies, semantic roles and coreference, head by head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import remark, say
from attention_analyzer.cli.options import Device, Encoding, Errors, FigureFile, Model, Output, analyzer_for

if TYPE_CHECKING:
    from attention_analyzer.linguistics import Relations

_SHOWN = ["label", "questions", "direction", "head", "accuracy", "baseline"]
_SHOWN += ["held_out", "low", "high", "held_out_baseline", "chosen", "p_holm", "better_heads"]


def relations(
    file: Annotated[
        Path,
        typer.Argument(
            help="Annotated sentences: .conllu (PropBank columns too) or .conll; or pairs of your own: .jsonl."
        ),
    ],
    *,
    model: Model = None,
    output: Output = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Tasks: dependencies, roles, coreference or pairs (default: all that are annotated)."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of sentences.")] = None,
    min_words: Annotated[int, typer.Option(help="Minimum words per sentence.")] = 1,
    max_words: Annotated[int | None, typer.Option(help="Maximum words per sentence.")] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Use the original text instead of joining words with spaces.")
    ] = False,
    fewest: Annotated[int, typer.Option(help="Minimum number of examples per label.")] = 20,
    figure: FigureFile = None,
    examples: Annotated[
        str | None, typer.Option(help="Show example sentences, such as nsubj:L2H8 (or nsubj for its best head).")
    ] = None,
    errors: Errors = "skip",
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Find heads that track syntax and coreference.

    Heads are compared with baselines that know no syntax.
    """
    from attention_analyzer.cli.tables import check_format, print_table, write_table
    from attention_analyzer.linguistics import read_annotated
    from attention_analyzer.plots.relations import relations_figure
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    analyzer = analyzer_for(model, device)
    with counting("Reading", "sentences") as progress:
        found = analyzer.relations(
            read_annotated(file, encoding),
            tasks=task,
            limit=limit,
            min_words=min_words,
            max_words=max_words,
            spaced=not as_written,
            errors=errors,
            progress=progress,
        )
        table = found.table(fewest=fewest)
    remark(found)
    if output is not None:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")
    elif examples is None:
        for name, part in table.groupby("task", sort=False):
            part = part.assign(
                head=[f"L{layer}H{head}" for layer, head in zip(part["layer"], part["head"], strict=True)]
            )
            print_table(part[_SHOWN], title=f"{analyzer.name}: {name}, {found.sentences} sentences")
        _print_combination(found)
    if figure is not None:
        save_figure(relations_figure(found[str(table["task"].iloc[0])], fewest=fewest), figure)
        say(f"Figure saved to {figure}")
    if examples is not None:
        _print_examples(found, examples)


def _print_combination(found: Relations) -> None:
    best = found.combination
    if best is not None:
        say(
            f"All heads together find {best.uas:.1%} of governors in unseen sentences "
            f"({best.low:.1%} to {best.high:.1%}; without punctuation {best.uas_words:.1%}); "
            f"relative positions alone {best.control:.1%}."
        )
    if found.left_out:
        say(f"{found.left_out} sentences were skipped because they exceed the model's maximum length.")


def _print_examples(found: Relations, cell: str) -> None:
    from attention_analyzer.errors import InputError, SelectionError

    label, at = cell, ""
    # Labels have colons of their own (nsubj:pass).
    if ":L" in cell:
        label, _, at = cell.rpartition(":L")
    for scores in found.tasks.values():
        if label in scores.labels:
            break
    else:
        known = ", ".join(label for scores in found.tasks.values() for label in scores.labels)
        raise SelectionError(f"Nothing is labeled {label!r}; the labels are: {known}.")
    if at:
        layer, _, head = at.partition("H")
        if not (layer.isdecimal() and head.isdecimal()):
            raise InputError(f"{cell!r} names no head; write it as {label}:L2H8.")
        place, direction = (int(layer), int(head)), None
    else:
        best = scores.head_table(label).iloc[0]
        place, direction = (int(best["layer"]), int(best["head"])), str(best["direction"])
    say(f"L{place[0]}H{place[1]} on {label}: *query word*, [correct word] → strongest key")
    for example in scores.examples(label, *place, direction=direction, limit=20):
        say(f"  {example}")
