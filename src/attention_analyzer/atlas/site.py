"""An atlas on disk: ``index.html`` with the map, a page and a JSON per head, and ``atlas.json`` with everything else.

One folder of plain files that opens without a server or a network. Components that cross-filter millions of points
(embedding-atlas, Mosaic) bring a database of tens of megabytes and need a server; a model has some hundred heads, which
a page of its own draws and searches at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attention_analyzer.atlas.content import AtlasModel, atlas_model, head_name
from attention_analyzer.atlas.pages import head_page, index_page
from attention_analyzer.comparison.matching import match_heads
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.files import exported
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

VERSION = 1


def write_atlas(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    folder: str | Path,
    *,
    other: LoadedModel | None = None,
    seed: int = 0,
    truncate: bool = False,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> Path:
    """Write a static site of a model, or of two side by side, and return its first page.

    Args:
        texts: at least six, better hundreds: programs are fitted on half of them and scored on the other half.
        folder: made if it is not there; files of an earlier atlas are replaced.
        other: a second model on the same texts; heads that correspond are linked.
        seed: of controls and probes.
        truncate: cut what a model has no positions for.
        errors: "raise", or "skip" to leave out texts that a model cannot use and list them in ``atlas.json``.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError: too few texts, or the folder cannot be written.
    """
    target = Path(folder)
    try:
        (target / "heads").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {target} cannot be made: {error.strerror}; give another one.") from None
    both = [each for each in (loaded, other) if each]
    kept = usable_texts(both, texts, errors=errors, truncate=truncate)
    models = [atlas_model(each, kept.texts, seed=seed, truncate=truncate, progress=progress) for each in both]
    matches = {} if other is None else _matches(loaded, other, models)
    return write_site(models, matches, target, kept.problems)


def write_site(
    models: Sequence[AtlasModel], matches: dict[str, str], folder: Path, problems: pd.DataFrame | None = None
) -> Path:
    """Write what was gathered."""
    folders = [f"heads/{number}" for number in range(len(models))]
    back = {there: here for here, there in matches.items()}
    for number, (model, below) in enumerate(zip(models, folders, strict=True)):
        (folder / below).mkdir(parents=True, exist_ok=True)
        of_other = (matches, back)[number]
        for place, head in enumerate(model.heads):
            name = head["name"]
            match = f"../{1 - number}/{of_other[name]}.html" if name in of_other else ""
            _write(folder / below / f"{name}.html", head_page(model, place, match))
            _write(folder / below / f"{name}.json", _json({"model": model.name, **head}))
    kept = ("name", "stack", "kind", "layer", "head", "sentence", "labels", "numbers", "terms", "similar")
    summary: dict[str, Any] = {
        "format": "attention-analyzer atlas",
        "version": VERSION,
        "models": [
            {"name": model.name, "folder": below, "heads": [{key: head[key] for key in kept} for head in model.heads]}
            for model, below in zip(models, folders, strict=True)
        ],
        "matches": matches,
        "problems": [] if problems is None else problems.to_dict("records"),
    }
    _write(folder / "atlas.json", _json(summary))
    page = folder / "index.html"
    _write(page, index_page(models, folders, matches))
    return page


def _matches(first: LoadedModel, second: LoadedModel, models: Sequence[AtlasModel]) -> dict[str, str]:
    table = match_heads(first, second).table
    table = table[table["matched"]]
    several = [len({(head["stack"], head["kind"]) for head in model.heads}) > 1 for model in models]
    there = table[[f"other_{name}" for name in ("stack", "kind", "layer", "head")]]
    there = there.set_axis(["stack", "kind", "layer", "head"], axis=1)
    pairs = zip(_rows(table), _rows(there), strict=True)
    return {head_name(here, several[0]): head_name(other, several[1]) for here, other in pairs}


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples())


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _write(path: Path, text: str) -> None:
    with exported(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace", newline="\n")
