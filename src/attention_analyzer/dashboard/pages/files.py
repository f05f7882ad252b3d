"""Files: a whole corpus read by every head, in the background; tables, examples and a search afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import in_dashboard, plain, without_folders
from attention_analyzer.dashboard.export import offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.head_table import head_table
from attention_analyzer.dashboard.inputs import HEAD, LAYER, model_box, within
from attention_analyzer.dashboard.jobs import Job, jobs, wait_for
from attention_analyzer.dashboard.model_cache import analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import keep, restore
from attention_analyzer.dashboard.temp_dirs import Folder
from attention_analyzer.dashboard.uploads import Upload, columns_of, upload_box
from attention_analyzer.errors import InputError
from attention_analyzer.text.readers import ReadOptions
from attention_analyzer.text.readers.row import USUAL_COLUMNS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from attention_analyzer.corpus import Corpus, Progress

KINDS = ("txt", "csv", "tsv", "jsonl", "parquet", "conllu")
COLUMN, UNIT, SCAN, MEASURE, FROM, TO = "column", "unit", "scan", "measure", "from", "to"
ENCODING, DELIMITER, HEADER = "encoding", "delimiter", "header"
_ENCODINGS = {
    "": "UTF-8, or UTF-16 with a byte-order mark",
    "cp1252": "Windows, Western Europe (cp1252)",
    "cp1250": "Windows, Central Europe (cp1250)",
    "cp1251": "Windows, Cyrillic (cp1251)",
    "cp1253": "Windows, Greek (cp1253)",
    "cp1254": "Windows, Turkish (cp1254)",
    "cp1256": "Windows, Arabic (cp1256)",
    "gb18030": "Chinese, simplified (GB 18030)",
    "big5": "Chinese, traditional (Big5)",
    "shift_jis": "Japanese (Shift JIS)",
    "euc_kr": "Korean (EUC-KR)",
}
_DELIMITERS = {"": "commas (tabs in .tsv files)", ";": "semicolons", "\t": "tabs", "|": "bars"}
_UNITS = {"line": "per line", "paragraph": "per paragraph", "file": "per file"}
#: Shown first.
_FIRST_MEASURE = "entropy"


@dataclass(frozen=True)
class Scanned:
    """A finished scan, and what is needed to say how it was made."""

    corpus: Corpus
    model: str
    names: tuple[str, ...]
    options: dict[str, Any]
    folder: Folder = field(repr=False)


def show() -> None:
    st.header("What do the heads do in a corpus?")
    models = model_box()
    upload = upload_box(
        "Files",
        KINDS,
        several=True,
        key="corpus",
        help_text="Text files, tables (CSV, TSV, JSON lines, Parquet) and treebanks (CoNLL-U). "
        "Uploads are deleted together with their result.",
    )
    name = models[0] if models else ""
    if upload is None or not name:
        _earlier()
        return
    options = _options(upload)
    if options is None:
        st.info("Choose the column that holds the text.")
        return
    parts = (name, analyzer_of(name).fingerprint, upload.digest, *sorted(options.items()))
    key = hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()

    def scan(job: Job) -> Scanned:
        folder = Folder("scan")

        def report(progress: Progress) -> None:
            job.report(progress.share, str(progress))

        corpus = own_analyzer(name).scan(upload.paths, folder.path / "scan", progress=report, **options)
        return Scanned(corpus, name, upload.names, options, folder)

    found = wait_for(("files", key), "Reading", scan, button=f"Read {_counted(len(upload.names), 'file')}")
    if found is not None:
        st.query_params[SCAN] = key
        _results(found)


def _earlier() -> None:
    """The result that the address names, as after a reload; else what to do."""
    key = st.query_params.get(SCAN)
    job = jobs().get(("files", key)) if key else None
    if job is not None and job.over and job.error is None:
        st.caption("Showing your previous scan. Adding files starts a new one.")
        _results(job.result)
    elif job is not None:
        wait_for(("files", key), "Reading", _nothing)
    else:
        st.info("Choose a model and add files: plain text, tables with a text column, or treebanks.")


def _reading(upload: Upload) -> dict[str, Any]:
    """How text files are read, where that is not as usual."""
    if all(path.suffix.lower() == ".parquet" for path in upload.paths):
        return {}
    options: dict[str, Any] = {}
    with st.expander("Reading options"):
        left, right = st.columns(2)
        with left:
            options["encoding"] = _choice("Encoding", _ENCODINGS, ENCODING)
        with right:
            options["delimiter"] = _choice("Column separator of CSV files", _DELIMITERS, DELIMITER)
        restore(HEADER, True)
        options["header"] = st.checkbox("The first line of a CSV file is a header", key=HEADER)
        keep(HEADER, options["header"])
    usual = {"encoding": "", "delimiter": "", "header": True}
    return {name: value for name, value in options.items() if value != usual[name]}


def _choice(label: str, meanings: dict[str, str], key: str) -> str:
    restore(key, "")
    chosen = st.selectbox(label, list(meanings), format_func=lambda value: meanings[value], key=key)
    keep(key, chosen)
    return chosen


def _options(upload: Upload) -> dict[str, Any] | None:
    """Which column holds the text, and what of a plain file is one text; None while the column is not known."""
    options = _reading(upload)
    try:
        by_file = [columns_of(path, ReadOptions(**options)) for path in upload.paths]
    except InputError as error:
        st.warning(plain(error.worded(in_dashboard)))
        return None
    columns = list(dict.fromkeys(name for names in by_file for name in names))
    unclear = any(len(names) > 1 and not set(names) & set(USUAL_COLUMNS) for names in by_file)
    if columns:
        restore(COLUMN)
        if st.session_state.get(COLUMN) not in (None, *columns):
            st.session_state[COLUMN] = None
        column = st.selectbox(
            "Column with the text", columns, None, key=COLUMN, placeholder="text, content, sentence, or the only one"
        )
        keep(COLUMN, column)
        options |= {"column": column} if column else {}
        unclear = unclear and not column
    if any(path.suffix.lower() == ".txt" for path in upload.paths):
        restore(UNIT, "line")
        unit = st.segmented_control(
            "One text", list(_UNITS), format_func=lambda unit: _UNITS[unit], key=UNIT, required=True
        )
        keep(UNIT, unit)
        options |= {"unit": unit} if unit and unit != "line" else {}
    return None if unclear else options


def _results(found: Scanned) -> None:
    corpus, done = found.corpus, found.corpus.manifest
    st.success(
        plain(
            f"{_counted(done.texts, 'text')}, {done.tokens:,} tokens, {found.model}"
            + (f"; {_counted(done.problems, 'row')} skipped." if done.problems else "; no rows were skipped.")
        ),
        icon=":material/check:",
    )
    problems = _without_folders(corpus.problems())
    if len(problems):
        with st.expander(f"Skipped rows ({done.problems:,})", expanded=True):
            show_table(problems)
    if not done.texts:
        return
    measures = list(corpus.heads()["measure"].unique())
    restore(MEASURE, _FIRST_MEASURE)
    within(MEASURE, measures)
    measure = st.selectbox("Measure", measures, key=MEASURE, bind="query-params") or measures[0]
    keep(MEASURE, measure)
    table = corpus.heads(measure)
    left, right = st.columns([2, 3])
    with left:
        show_figure(lambda: _map(table, measure), ("files", id(found), measure), f"{measure} of every head")
    with right:
        head_table(table, "corpus", height=320)
    st.subheader("Strongest examples of a head")
    first = corpus.sites[0]
    layers = {site.layer: site.heads for site in corpus.sites if (site.stack, site.kind) == (first.stack, first.kind)}
    columns = st.columns(3)
    within(LAYER, list(layers))
    layer = columns[0].selectbox("Layer", list(layers), key=LAYER, bind="query-params") or 0
    keep(LAYER, layer)
    within(HEAD, list(range(layers[layer])))
    head = columns[1].selectbox("Head", range(layers[layer]), key=HEAD, bind="query-params") or 0
    keep(HEAD, head)
    by = columns[2].selectbox("By", ["pairs", *measures], help="Token pairs, or texts where a measure is largest.")
    examples = _without_folders(corpus.examples(layer, head, by or "pairs", stack=first.stack, kind=first.kind))
    show_table(examples)
    searched = _search(corpus)
    with st.expander("Export"):
        offer_table(corpus.heads(), "corpus-heads", "Heads, all measures")
        offer_table(examples, "examples", f"Examples of L{layer}H{head}")
        if searched is not None:
            offer_table(searched, "search", "Search")
        if len(problems):
            offer_table(problems, "problems", "Skipped rows")
        offer_figure(lambda: _map(table, measure), "corpus-map")
        where = f"stack={first.stack!r}, kind={first.kind!r}"
        asked = "".join(f", {name}={value!r}" for name, value in found.options.items())
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({found.model!r})",
            f'corpus = analyzer.scan({list(found.names)!r}, "scan"{asked})',
            'corpus.heads().to_csv("corpus-heads.csv", index=False)',
            f"examples = corpus.examples({layer}, {head}, {by or 'pairs'!r}, {where})",
            'examples.to_csv("examples.csv", index=False)',
        ],
        "corpus",
    )


def _search(corpus: Corpus) -> pd.DataFrame | None:
    """Where do heads look from X to Y?"""
    if not corpus.manifest.linked:
        return None
    st.subheader("Search: which heads attend from X to Y?")
    left, right = st.columns(2)
    restore(FROM)
    restore(TO)
    terms = "A word; piece:##ing; pos:VERB or relation:nsubj in treebanks; special; any"
    start = left.text_input("From", key=FROM, bind="query-params", placeholder="she", help=terms)
    goal = right.text_input("To", key=TO, bind="query-params", placeholder="any", help=f"{terms}; governor; dependent")
    keep(FROM, start)
    keep(TO, goal)
    if not start or not goal:
        return None
    table = corpus.search(start, goal)
    place = head_table(table, "search", height=260)
    if place is not None:
        st.caption(plain(f"Where {place} looks from {start} to {goal}"))
        places = corpus.matches(start, goal, place.layer, place.head, stack=place.stack)
        show_table(_without_folders(places) if "place" in places else places)
    return table


def _map(table: pd.DataFrame, measure: str) -> Figure:
    from attention_analyzer.view.figures import grid_figure

    first = table.iloc[0]
    own = table[(table["stack"] == first["stack"]) & (table["kind"] == first["kind"])]
    grid = own.pivot_table(index="layer", columns="head", values="mean", dropna=False)
    return grid_figure(grid.to_numpy(), title=measure.replace("_", " "), layers=[int(layer) for layer in grid.index])


def _without_folders(table: pd.DataFrame) -> pd.DataFrame:
    """Places as the visitor's own files, not where they lie here."""
    return table.assign(place=[without_folders(place).removeprefix("…/") for place in table["place"]])


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def _nothing(job: Job) -> None:
    """Never called: the job is under way."""
