"""A summary as tables, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from attention_analyzer.corpus.chunks import Problem
from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.running_stats import Moments
from attention_analyzer.corpus.summary import KeptText, Summary
from attention_analyzer.corpus.top_k import Strongest
from attention_analyzer.errors import FileFormatError
from attention_analyzer.site import Site

#: What token pairs are called beside the measures, where examples are asked for.
PAIRS = "pairs"
#: Rows left out that are told one by one; beyond, they are only counted.
MOST_PROBLEMS = 10_000


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


def summary_of(sites: Sequence[dict[str, Any]], tables: dict[str, pa.Table], most: int) -> Summary:
    """The inverse of :func:`tables_of`.

    Raises:
        FileFormatError: the tables do not belong together.
    """
    try:
        return _summary_of(sites, tables, most)
    except (KeyError, ValueError, IndexError, TypeError, pa.ArrowException) as error:
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


def _summary_of(sites: Sequence[dict[str, Any]], tables: dict[str, pa.Table], most: int) -> Summary:
    summary = Summary.empty(tuple(Site(**site) for site in sites), most)
    heads = tables["heads"]
    shape = summary.moments.count.shape
    moments = Moments(
        **{
            name: heads[column].to_numpy().astype(dtype, casting="same_kind").reshape(shape)
            for name, column, dtype in (
                ("count", "texts", np.int64),
                ("total", "total", np.float64),
                ("squares", "squares", np.float64),
                ("smallest", "smallest", np.float64),
                ("largest", "largest", np.float64),
            )
        }
    )
    kept = {
        row["text"]: KeptText(row["content"], row["place"], tuple(row["pieces"]), tuple(row["others"]))
        for row in tables["kept"].to_pylist()
    }
    examples = tables["examples"].to_pandas()
    if not set(examples["text"]) <= kept.keys():
        raise ValueError("an example is of a text that is not kept")
    numbers = {name: number for number, name in enumerate(MEASURES)}
    for is_pair, target in ((False, summary.texts), (True, summary.pairs)):
        part = examples[(examples["measure"] == PAIRS) == is_pair]
        head, rank = part["number"].to_numpy(dtype=np.int64), part["rank"].to_numpy(dtype=np.int64)
        if ((head < 0) | (head >= summary.heads) | (rank < 1) | (rank > most)).any():
            raise ValueError("an example is of a head or rank that is not there")
        quantity = head if is_pair else head * len(MEASURES) + part["measure"].map(numbers).to_numpy(dtype=np.int64)
        place = quantity, rank - 1
        target.value[place], target.text[place] = part["value"].to_numpy(), part["text"].to_numpy()
        target.at[place] = part[["query", "key"]].fillna(-1).to_numpy(dtype=np.int32)
    return Summary(summary.sites, moments, summary.texts, summary.pairs, kept)


def head_names(sites: Sequence[Site]) -> dict[str, list[Any]]:
    """Stack, kind, layer and head of every head, in order."""
    return {
        "stack": [site.stack for site in sites for _ in range(site.heads)],
        "kind": [site.kind for site in sites for _ in range(site.heads)],
        "layer": [site.layer for site in sites for _ in range(site.heads)],
        "head": [head for site in sites for head in range(site.heads)],
    }


def _heads(summary: Summary) -> pa.Table:
    moments, measures = summary.moments, len(MEASURES)
    names = {name: np.repeat(np.array(values), measures) for name, values in head_names(summary.sites).items()}
    return pa.table(
        {
            **names,
            "measure": np.tile(np.array(MEASURES), summary.heads),
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
