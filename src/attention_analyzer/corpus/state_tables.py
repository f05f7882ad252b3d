"""A summary as tables, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attention_analyzer.corpus.chunks import Problem
from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.running_stats import Moments
from attention_analyzer.corpus.summary import KeptText, Summary
from attention_analyzer.corpus.top_k import Strongest
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.site import Site

if TYPE_CHECKING:
    import pandas as pd

#: What token pairs are called beside the measures, where examples are asked for.
PAIRS = "pairs"
#: Skipped rows that are told one by one; beyond, they are only counted.
MOST_PROBLEMS = 10_000
#: No corpus has as many texts.
LARGEST_COUNT = 1 << 53


def tables_of(summary: Summary, problems: Sequence[Problem]) -> dict[str, pa.Table]:
    """Everything that the store keeps beside texts and tokens."""
    return {
        "heads": _heads(summary),
        "examples": pa.concat_tables(
            [_examples(summary, summary.texts, False), _examples(summary, summary.pairs, True)]
        ),
        "kept": _kept(summary),
        "problems": pa.table(
            {
                "row": pa.array([each.row for each in problems], pa.int64()),
                "place": pa.array([each.place for each in problems], pa.string()),
                "reason": pa.array([each.reason for each in problems], pa.string()),
                "start": pa.array([each.start for each in problems], pa.string()),
            }
        ),
    }


def most_rows(sites: Sequence[dict[str, Any]], most: int) -> dict[str, int]:
    """How many rows each state table can have at most, of sites with ``most`` examples per head and measure."""
    heads = sum(site["heads"] for site in sites)
    examples = heads * (len(MEASURES) + 1) * most
    return {"heads": heads * len(MEASURES), "examples": examples, "kept": examples, "problems": MOST_PROBLEMS}


def summary_of(sites: Sequence[dict[str, Any]], tables: dict[str, pa.Table], most: int) -> Summary:
    """The inverse of :func:`tables_of`.

    Raises:
        FileFormatError: the tables do not belong together.
    """
    try:
        return _summary_of(tuple(Site(**site) for site in sites), tables, most)
    except (InputError, KeyError, ValueError, IndexError, TypeError, OverflowError, pa.ArrowException) as error:
        raise FileFormatError(f"The tables of the store do not belong together ({error}).") from None


def problems_of(table: pa.Table) -> list[Problem]:
    """Rows that were left out, as the store has them.

    Raises:
        FileFormatError: the table is not one of problems.
    """
    try:
        return [Problem(**row) for row in table.to_pylist()]
    except TypeError as error:
        raise FileFormatError(f"The store's table of problems has other columns ({error}).") from None


def _summary_of(sites: tuple[Site, ...], tables: dict[str, pa.Table], most: int) -> Summary:
    moments = _moments_of(sites, tables["heads"])  # before room is made for examples of so many heads
    summary = Summary.empty(sites, most)
    kept = _kept_of(tables["kept"])
    examples = tables["examples"].to_pandas()
    _check_examples(examples, sites, kept, most)
    for is_pair, target in ((False, summary.texts), (True, summary.pairs)):
        part = examples[(examples["measure"] == PAIRS) == is_pair]
        quantity = part["number"].to_numpy(dtype=np.int64)
        if not is_pair:
            quantity = quantity * len(MEASURES) + part["measure"].map(MEASURES.index).to_numpy(dtype=np.int64)
        place = quantity, part["rank"].to_numpy(dtype=np.int64) - 1
        target.value[place], target.text[place] = part["value"].to_numpy(), part["text"].to_numpy()
        target.at[place] = part[["query", "key"]].fillna(-1).to_numpy(dtype=np.int32)
    return Summary(sites, moments, summary.texts, summary.pairs, kept)


def _kept_of(table: pa.Table) -> dict[int, KeptText]:
    kept = {
        row["text"]: KeptText(row["content"], row["place"], tuple(row["pieces"]), tuple(row["others"]))
        for row in table.to_pylist()
    }
    if len(kept) < table.num_rows:
        raise ValueError("a text is kept twice")
    return kept


def _check_examples(examples: pd.DataFrame, sites: Sequence[Site], kept: Mapping[int, KeptText], most: int) -> None:
    """Raise ValueError for an example of something that is not there."""
    names = head_names(sites)
    head, rank = examples["number"], examples["rank"]
    if not (head.between(0, len(names["head"]) - 1) & rank.between(1, most)).all():
        raise ValueError("an example is of a head or rank that is not there")
    for name, values in names.items():
        if examples[name].tolist() != [values[number] for number in head]:
            raise ValueError(f"an example has another {name} than its head")
    if not examples["measure"].isin([PAIRS, *MEASURES]).all():
        raise ValueError("an example is of a measure that is not there")
    if examples["value"].isna().any():
        raise ValueError("an example has no value")
    if not examples["text"].isin(list(kept)).all():
        raise ValueError("an example is of a text that is not kept")
    if examples.duplicated(["number", "measure", "rank"]).any():
        raise ValueError("two examples have one rank")
    is_pair = examples["measure"] == PAIRS
    if examples.loc[~is_pair, ["query", "key"]].notna().any(axis=None):
        raise ValueError("an example that is no pair names tokens")
    site_of = [site for site in sites for _ in range(site.heads)]
    for row in examples[is_pair].itertuples():
        queries, keys = kept[row.text].axes(site_of[row.number])
        if not (0 <= row.query < len(queries) and 0 <= row.key < len(keys)):
            raise ValueError("an example names tokens that are not there")


def _moments_of(sites: Sequence[Site], heads: pa.Table) -> Moments:
    names = _head_and_measure(sites)
    if heads.num_rows != len(names["measure"]):
        raise ValueError(f"sums of {heads.num_rows:,} measures instead of {len(names['measure']):,}")
    for name, values in names.items():
        if heads[name].to_pylist() != values.tolist():
            raise ValueError(f"the heads have another {name}")
    counts = heads["texts"].to_numpy()
    if (counts < 0).any() or (counts > LARGEST_COUNT).any():
        raise ValueError("a number of texts is impossible")
    shape = len(counts) // len(MEASURES), len(MEASURES)
    total, squares, smallest, largest = (
        heads[column].to_numpy().reshape(shape) for column in ("total", "squares", "smallest", "largest")
    )
    return Moments(counts.reshape(shape), total, squares, smallest, largest)


def head_names(sites: Sequence[Site]) -> dict[str, list[Any]]:
    """Stack, kind, layer and head of every head, in order."""
    return {
        "stack": [site.stack for site in sites for _ in range(site.heads)],
        "kind": [site.kind for site in sites for _ in range(site.heads)],
        "layer": [site.layer for site in sites for _ in range(site.heads)],
        "head": [head for site in sites for head in range(site.heads)],
    }


def _head_and_measure(sites: Sequence[Site]) -> dict[str, Any]:
    """The first columns of the table of heads."""
    names = head_names(sites)
    return {
        **{name: np.repeat(np.array(values), len(MEASURES)) for name, values in names.items()},
        "measure": np.tile(np.array(MEASURES), len(names["head"])),
    }


def _heads(summary: Summary) -> pa.Table:
    moments = summary.moments
    return pa.table(
        {
            **_head_and_measure(summary.sites),
            "texts": moments.count.ravel(),
            "total": moments.total.ravel(),
            "squares": moments.squares.ravel(),
            "smallest": moments.smallest.ravel(),
            "largest": moments.largest.ravel(),
        }
    )


def _examples(summary: Summary, strongest: Strongest, is_pair: bool) -> pa.Table:
    quantity, rank = np.nonzero(strongest.text >= 0)
    head = quantity if is_pair else quantity // len(MEASURES)
    measure = np.array([PAIRS])[quantity * 0] if is_pair else np.array(MEASURES)[quantity % len(MEASURES)]
    names = {name: np.array(values)[head] for name, values in head_names(summary.sites).items()}
    at = strongest.at[quantity, rank]
    return pa.table(
        {
            "number": head.astype(np.int32),
            **names,
            "measure": pa.array(measure, pa.string()),
            "rank": (rank + 1).astype(np.int32),
            "value": strongest.value[quantity, rank],
            "text": strongest.text[quantity, rank],
            "query": pa.array(at[:, 0], mask=at[:, 0] < 0),
            "key": pa.array(at[:, 1], mask=at[:, 1] < 0),
        }
    )


def _kept(summary: Summary) -> pa.Table:
    texts = sorted(summary.kept.items())
    return pa.table(
        {
            "text": pa.array([number for number, _ in texts], pa.int64()),
            "content": pa.array([kept.content for _, kept in texts], pa.string()),
            "place": pa.array([kept.place for _, kept in texts], pa.string()),
            "pieces": pa.array([kept.pieces for _, kept in texts], pa.list_(pa.string())),
            "others": pa.array([kept.others for _, kept in texts], pa.list_(pa.string())),
        }
    )
