"""``attn sources``: which documents, turns or sentences an answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Device, FigureFile, Output, analyzer_for

if TYPE_CHECKING:
    from attention_analyzer.sources import Sources


def sources(
    chat: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A chat (.json: messages, or an object with messages, documents and answer), or a log (.jsonl: one "
            "chat per line).",
        ),
    ],
    *,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A model that continues texts: bundled name, folder or hub id."),
    ] = "demo-reader",
    level: Annotated[
        str | None, typer.Option(help="Parts: section, turn, document, sentence …; sections by default.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    removals: Annotated[int, typer.Option(help="Random removals: half to fit, half to judge; 0 for none.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(help="Of the model's own answer.")] = 64,
    output: Output = None,
    figure: FigureFile = None,
    device: Device = "auto",
) -> None:
    """Find the parts that an answer rests on.

    A last message of the assistant is the answer that is explained; otherwise the model answers first. A log needs
    --output; interrupted, it resumes from the folder next to that file.
    """
    from attention_analyzer.cli.tables import check_format, write_table
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    if not chat.is_file():
        raise InputError(f"There is no file {chat}.")
    if chat.suffix.lower() in (".jsonl", ".ndjson"):
        if output is None:
            raise InputError("A log gives many rows; name a file for them with --output sources.parquet.")
        if level is not None or method or figure is not None:
            raise InputError("A log takes neither --level nor --method nor --figure; leave them out.")
        _log(chat, model, removals, max_new_tokens, output, device)
        return
    found = _one(chat, model, level, method, removals, max_new_tokens, device)
    _show(found)
    if output is not None:
        write_table(found.table, output)
        say(f"{len(found.table)} rows written to {output}")
    if figure is not None:
        save_figure(found.figure(), figure)
        say(f"Figure saved to {figure}")


def _one(
    chat: Path, model: str, level: str | None, method: list[str] | None, removals: int, max_new_tokens: int, device: str
) -> Sources:
    import json

    from attention_analyzer.cli.options import read_text
    from attention_analyzer.errors import InputError
    from attention_analyzer.sources.log import read_chat

    try:
        value = json.loads(read_text(str(chat)))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{chat} is no JSON: {error}.") from None
    arguments = read_chat(value, str(chat))
    analyzer = analyzer_for(model, device)
    with counting("Looking for sources", "steps") as progress:
        return analyzer.sources(
            **arguments,
            parts=level,
            methods=method or None,
            removals=removals,
            max_new_tokens=max_new_tokens,
            progress=progress,
        )


def _show(found: Sources) -> None:
    from attention_analyzer.cli.tables import print_table

    say(f"Answer: {found.answer.strip()}")
    say(f"Log-probability {found.log_probability:.2f}; without any of the parts {found.without_any:.2f}")
    say("")
    print_table(found.table.drop(columns=["tokens"]), title="Parts, best first (scores in nats; attention in weight)")
    say("")
    print_table(found.methods, title="Methods on this text")
    if found.none:
        say("None of the parts moves the answer.")
    elif found.recommended:
        say(f"Recommended on this text: {found.recommended}.")
    else:
        say("No method is better than random parts on this text.")
    for sentence in (*found.contradictions, *found.notes):
        say(sentence)


def _log(chat: Path, model: str, removals: int, max_new_tokens: int, output: Path, device: str) -> None:
    import shutil

    from attention_analyzer.cli.tables import write_table
    from attention_analyzer.sources.log import sources_of_log

    analyzer = analyzer_for(model, device)
    store = output.with_name(f"{output.name}.unfinished")
    with counting("Looking for sources", "chats") as progress:
        table = sources_of_log(
            analyzer.loaded,
            chat,
            store,
            removals=removals,
            max_new_tokens=max_new_tokens,
            cache=None if analyzer.cache is None else analyzer.cache.folder,
            progress=progress,
        )
    write_table(table, output)
    shutil.rmtree(store)
    problems = int((table["problem"] != "").sum())
    say(f"{table['line'].nunique()} chats, {len(table)} rows written to {output}")
    if problems:
        say(f"{problems} lines could not be used; the column 'problem' says why.")
