"""How results are drawn: one module per subject, and one table that says which function draws which result.

Figures are made without pyplot, so nothing global is kept and any thread may draw. A new figure is a function in a
module of this package and one line in :data:`FIGURES`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.errors import SelectionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.result import Result

#: Name of the result's class and of the view ("" is the main one) → module of this package and function.
FIGURES: dict[tuple[str, str], tuple[str, str]] = {
    ("TokenImportance", ""): ("attribution", "importance_figure"),
    ("AttributionComparison", ""): ("attribution", "comparison_figure"),
    ("CacheAdvice", ""): ("cache_advice", "cache_figure"),
    ("Circuit", ""): ("mechanism", "circuit_figure"),
    ("Comparison", ""): ("comparison", "comparison_figure"),
    ("Compositions", ""): ("head_circuits", "compositions_figure"),
    ("ContrastDirections", ""): ("head_circuits", "contrast_figure"),
    ("MultiModelComparison", ""): ("comparison", "several_figure"),
    ("DepthProfile", ""): ("depth", "profile_figure"),
    ("DepthProfile", "metrics"): ("depth", "depth_figure"),
    ("Effects", ""): ("mechanism", "effects_figure"),
    ("Effects", "heads"): ("mechanism", "effect_map"),
    ("HeadImportance", ""): ("head_importance", "importance_figure"),
    ("Patching", ""): ("mechanism", "patching_figure"),
    ("PruningCurve", ""): ("head_importance", "pruning_figure"),
    ("Why", ""): ("mechanism", "why_figure"),
    ("WhatIf", ""): ("intervention", "what_if_figure"),
    ("HeadLabels", ""): ("labels", "label_figure"),
    ("HeadPrograms", ""): ("programs", "programs_figure"),
    ("HeadWrites", ""): ("head_circuits", "writes_figure"),
    ("Lookback", ""): ("parts", "lookback_figure"),
    ("PartAttention", ""): ("parts", "between_figure"),
    ("ProgramReplacement", ""): ("programs", "replacement_figure"),
    ("Receivers", ""): ("parts", "receivers_figure"),
    ("RetrievalHeads", ""): ("parts", "retrieval_figure"),
    ("Sources", ""): ("parts", "sources_figure"),
    ("Suppression", ""): ("parts", "suppression_figure"),
    ("Relations", ""): ("relations", "first_task_figure"),
    ("Scores", ""): ("relations", "relations_figure"),
    ("Scores", "map"): ("relations", "relation_map"),
    ("Similarity", ""): ("similarity", "similarity_figure"),
    ("History", ""): ("training", "history_figure"),
    ("History", "map"): ("training", "head_map"),
    ("RunComparison", ""): ("training", "runs_figure"),
}

#: Results whose page is not the usual one (facts, figure, table) → function of ``plots.page``.
PAGES = {"Comparison": "comparison_page"}


def draw(result: Result, view: str, options: dict[str, Any]) -> Figure:
    """The figure of a result.

    Raises:
        SelectionError: the result has no such view.
    """
    name = type(result).__name__
    if (name, view) not in FIGURES:
        views = ", ".join(repr(known) for owner, known in FIGURES if owner == name and known)
        raise SelectionError(f"{name} has no view {view!r}; it has {views or 'one figure only: leave the view out'}.")
    module, function = FIGURES[name, view]
    figure: Figure = getattr(import_module(f"{__name__}.{module}"), function)(result, **options)
    return figure


def write_page(result: Result, path: Path, options: dict[str, Any]) -> None:
    """One HTML page of a result.

    Raises:
        InputError: the file cannot be written.
    """
    module = import_module(f"{__name__}.page")
    getattr(module, PAGES.get(type(result).__name__, "result_page"))(result, path, **options)
