"""``attn corpus``: scan many texts into a store, and ask it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Device,
    Encoding,
    Kind,
    Model,
    Output,
    Stack,
    Truncate,
    analyzer_for,
)

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.corpus import Corpus
    from attention_analyzer.errors import OnError

corpus = typer.Typer(help="Analyze a corpus and query the results.", no_args_is_help=True)
#: Names of delimiters that a shell would have to be told how to quote.
_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|"}
Store = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a scan.")]
Errors = Annotated[str, typer.Option(help="What to do with damaged files: raise or skip.")]
ScanErrors = Annotated[str, typer.Option(help="What to do with rows that cannot be used: skip or raise.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows to show.")]


@corpus.command()
def scan(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Files, folders, patterns (data/**/*.jsonl) or Hugging Face datasets on disk: "
            ".txt, .csv, .jsonl, .parquet, .conllu, .conll.",
        ),
    ],
    *,
    store: Annotated[Path, typer.Option("--output", "-o", help="Output folder; an interrupted scan is resumed.")],
    model: Model = None,
    column: Annotated[str | None, typer.Option(help="Column (or JSON key) that holds the text.")] = None,
    unit: Annotated[
        Literal["line", "paragraph", "file"],
        typer.Option(help="How to split .txt files into texts: line, paragraph or file."),
    ] = "line",
    encoding: Encoding = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Column separator of .csv files: comma (default), semicolon, tab, bar or any character."),
    ] = None,
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Whether the first line of a .csv file is a header.")
    ] = True,
    truncate: Truncate = False,
    examples: Annotated[int, typer.Option(min=0, help="Examples to store per head and measure.")] = 10,
    links: Annotated[bool, typer.Option(help="Store each token's strongest key per head (needed for search).")] = True,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens per batch.")] = 4096,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Number of Ray workers; each loads the model.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a running Ray cluster (auto finds it).")] = None,
    errors: ScanErrors = "skip",
    device: Device = "auto",
) -> None:
    """Measure every head on every text.

    The same command resumes after an interruption.
    """
    done = analyzer_for(model, device).scan(
        [Path(each) for each in inputs],
        store,
        column=column,
        unit=unit,
        encoding=encoding,
        delimiter=_DELIMITERS.get(delimiter or "", delimiter),
        header=header,
        truncate=truncate,
        examples=examples,
        links=links,
        batch_tokens=batch_tokens,
        engine=engine,
        workers=workers,
        address=address,
        errors=_on_error(errors),
    )
    told = done.manifest
    say(f"{told.texts:,} texts, {told.tokens:,} tokens in {store}")
    if told.problems:
        say(f"{told.problems:,} rows were skipped:")
        for row in done.problems().head(10).itertuples():
            say(f"  {row.place}: {row.reason}")
        if told.problems > 10:
            say(f"  … more of them in attn corpus query {store} 'FROM problems'")


@corpus.command()
def heads(
    store: Store,
    measure: Annotated[str, typer.Argument(help="A metric or pattern, such as entropy or previous_token.")] = "entropy",
    *,
    output: Output = None,
    limit: Limit = 20,
) -> None:
    """List heads by the mean of a measure.

    With its 95 % interval over texts, the largest first.
    """
    from attention_analyzer.corpus import Corpus

    table = Corpus.load(store).heads(measure).sort_values("mean", ascending=False, kind="stable")
    _show(table if output else table.drop(columns="measure").head(limit), output, measure)


@corpus.command()
def examples(
    store: Store,
    *,
    layer: Annotated[int, typer.Option("--layer", "-l", help="Layer, counted from zero.")],
    head: Annotated[int, typer.Option("--head", "-H", help="Head, counted from zero.")],
    by: Annotated[str, typer.Option(help="pairs of tokens, or a metric or pattern.")] = "pairs",
    stack: Stack = None,
    kind: Kind = None,
    output: Output = None,
    limit: Limit = 10,
) -> None:
    """Show where a head is strongest.

    Token pairs, or the texts where a measure is largest.
    """
    from attention_analyzer.corpus import Corpus

    table = Corpus.load(store).examples(layer, head, by, stack=stack, kind=kind)
    if output is None:
        names = ["rank", "value", "query_piece", "key_piece", "content", "place"]
        table = _shortened(table.head(limit)[[name for name in names if name in table]])
    _show(table, output, f"L{layer}H{head}: {by}")


@corpus.command()
def query(
    store: Store,
    sql: Annotated[str, typer.Argument(help="SQL over heads, examples, problems, texts, tokens, links.")],
    *,
    timeout: Annotated[float, typer.Option(help="Time limit of the query in seconds.")] = 300.0,
    memory: Annotated[int, typer.Option(help="Memory limit of the query and its result in MB.")] = 2048,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Allow file access; only for queries you trust.")] = False,
    errors: Errors = "raise",
    output: Output = None,
) -> None:
    """Query the results with SQL (DuckDB).

    A query reads the store's tables and nothing else, unless --unsafe is given.
    """
    from attention_analyzer.corpus.process_memory import bounded_memory

    opened = _opened(store, errors)
    with bounded_memory(2 * memory):  # a single value is not of DuckDB's working memory; nor is the answer
        table = opened.sql(sql, timeout=timeout, memory=memory, unsafe=unsafe)
    _show(table, output, "")


@corpus.command()
def verify(store: Store) -> None:
    """Check every file of a store for damage.

    Exits with code 1 if anything is wrong.
    """
    from attention_analyzer.corpus import Corpus

    opened = Corpus.load(store)
    damage = opened.verify()
    for row in damage.itertuples():
        say(f"{row.file} {row.reason}")
    if len(damage):
        say(f"{len(damage)} files of {store} do not match their checksums.")
        raise typer.Exit(1)
    say(f"{store} is intact: {len(opened.manifest.files or ())} files match their checksums.")


@corpus.command()
def search(
    store: Store,
    *,
    from_: Annotated[
        str, typer.Option("--from", help="Query tokens: a word, piece:…, pos:…, relation:…, special or any.")
    ],
    to: Annotated[str, typer.Option("--to", help="Key tokens: same forms, or governor or dependent.")],
    layer: Annotated[
        int | None, typer.Option("--layer", "-l", help="Show the matches of one head (with --head).")
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", "-H", help="Show the matches of one head (with --layer).")
    ] = None,
    errors: Errors = "raise",
    output: Output = None,
    limit: Limit = 10,
) -> None:
    """Find heads that attend from X to Y.

    The heads that do it most; with --layer and --head, the places in the texts.
    """
    from attention_analyzer.errors import InputError

    if (layer is None) != (head is None):
        raise InputError("Give --layer and --head together to show where one head matches.")
    opened = _opened(store, errors)
    title = f"{from_} → {to}"
    if layer is None or head is None:
        table = opened.search(from_, to)
        _show(table if output else table.head(limit), output, title)
        return
    table = opened.matches(from_, to, layer, head, limit=limit)
    if output is None:
        table = _shortened(table[["query_piece", "key_piece", "weight", "content", "place"]])
    _show(table, output, f"L{layer}H{head}: {title}")


def _opened(store: Path, errors: str) -> Corpus:
    """The store; what is left out of its answers is said as a warning."""
    from attention_analyzer.corpus import Corpus

    return Corpus.load(store, errors=_on_error(errors))


def _on_error(given: str) -> OnError:
    from attention_analyzer.errors import InputError

    if given not in ("raise", "skip"):
        raise InputError(f"--errors is raise or skip, not {given!r}.")
    return "skip" if given == "skip" else "raise"


def _show(table: pd.DataFrame, output: Path | None, title: str) -> None:
    from attention_analyzer.cli.tables import check_format, print_table, write_table

    check_format(output)
    if output is None:
        print_table(table, title=title)
    else:
        write_table(table, output)
        say(f"{len(table)} rows written to {output}")


def _shortened(table: pd.DataFrame, most: int = 80) -> pd.DataFrame:
    """Texts as they fit a line."""
    shown = [text if len(text) <= most else f"{text[: most - 1]}…" for text in table["content"]]
    return table.assign(content=[" ".join(text.split()) for text in shown])
