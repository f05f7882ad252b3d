"""Runs any number of studies over texts, with one forward per batch.

With a folder, the states of every :data:`CHUNK` batches are kept there, so that a run that was interrupted resumes
where it stopped and ends with the same states.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import xxhash

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError, TooLongError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import BATCH, batches, record_of, record_texts, run
from attention_analyzer.run.axes import OtherAxesError, check_axes
from attention_analyzer.run.state import State, load_states, save_states
from attention_analyzer.run.study import MeasuredBatch, Study
from attention_analyzer.site import Site
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.weights.base import AttentionWeights

#: Batches between two files of a store.
CHUNK = 16
Errors = Literal["raise", "skip"]
#: Index, first characters and reason of a text that was left out.
Problem = tuple[int, str, str]
_SHOWN = 40


@dataclass(frozen=True)
class Learned:
    """The states of all texts, one per study, and a table of the texts left out: ``index, text, reason``."""

    states: tuple[State, ...]
    problems: pd.DataFrame


@dataclass(frozen=True)
class StudyResults(Sequence[Any]):
    """The results of studies in their order, and a table of the texts left out: ``index, text, reason``."""

    results: tuple[Any, ...]
    problems: pd.DataFrame

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]


def run_studies(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    studies: Sequence[Study[Any]],
    *,
    store: str | os.PathLike[str] | None = None,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: Errors = "raise",
    progress: OnProgress | None = None,
) -> Learned:
    """The states of all studies.

    Args:
        store: a folder for the states, from which a run with the same texts and settings resumes.
        truncate: cut what the model has no positions for.
        errors: "raise" ends at the first text that cannot be used; "skip" leaves it out and says so in ``problems``.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError, TooLongError: a text cannot be used, or the store was begun with other texts or settings.
        CaptureError: the weights do not reproduce the model's own outputs.
        FileFormatError: a file of the store is not as it was written.
    """
    if errors not in get_args(Errors):
        raise InputError(f'errors is "raise" or "skip", not {errors!r}.')
    if not studies or not all(isinstance(study, Study) for study in studies):
        raise InputError("A list of at least one study was expected, such as [Patterns()].")
    folder = None if store is None else Path(store)
    if folder is not None:
        _open_store(folder, texts)
    settings = repr(
        (loaded.fingerprint, str(loaded.dtype), [study.settings for study in studies], truncate, batch_size, errors)
    )
    steps = ProgressCounter(len(texts), progress) if texts else None
    parts: list[list[State]] = [[State() for _ in studies]]
    problems: list[Problem] = []
    for number, chunk in enumerate(batches(enumerate(texts), batch_size * CHUNK)):
        key = xxhash.xxh3_128_hexdigest(repr((settings, chunk)).encode("utf-8", "surrogatepass"))
        path = None if folder is None else folder / f"chunk-{number:06}.safetensors"
        found = None
        if path is not None and path.exists():
            found = load_states(path, key)
            if found is None:
                raise InputError(
                    f"{folder} was begun with other texts, studies or settings; give those, or another folder."
                )
            if steps is not None:
                steps.advance(len(chunk))
        if found is None:
            found = _chunk(loaded, chunk, studies, truncate, batch_size, errors, steps)
            if path is not None:
                save_states(path, found[0], key, found[1])
        parts.append(found[0])
        problems += found[1]
    merged = tuple(State.merge(states) for states in zip(*parts, strict=True))
    return Learned(merged, pd.DataFrame(problems, columns=["index", "text", "reason"]))


def _open_store(folder: Path, texts: Sequence[Any]) -> None:
    if not all(isinstance(part, str) for text in texts for part in (text if isinstance(text, tuple) else (text,))):
        raise InputError("A store resumes by its texts and pairs of texts; run other inputs without a store.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The store {folder} cannot be made: {error.strerror}; give another folder.") from None


def _chunk(
    loaded: LoadedModel,
    chunk: Sequence[tuple[int, str | Pair]],
    studies: Sequence[Study[Any]],
    truncate: bool,
    batch_size: int,
    errors: Errors,
    steps: ProgressCounter | None,
) -> tuple[list[State], list[Problem]]:
    parts: list[list[State]] = [[State() for _ in studies]]
    problems: list[Problem] = []
    for batch in batches(chunk, loaded.at_once(batch_size)):
        try:
            parts.append(_batch(loaded, batch, studies, truncate))
        except (InputError, TooLongError):
            if errors == "raise":
                raise
            for index, text in batch:
                try:
                    parts.append(_batch(loaded, [(index, text)], studies, truncate))
                except (InputError, TooLongError) as error:
                    problems.append((index, str(text)[:_SHOWN], str(error)))
        if steps is not None:
            steps.advance(len(batch))
    return [State.merge(states) for states in zip(*parts, strict=True)], problems


def _batch(
    loaded: LoadedModel, texts: Sequence[tuple[int, str | Pair]], studies: Sequence[Study[Any]], truncate: bool
) -> list[State]:
    numbers = tuple(number for number, _ in texts)
    prepared = prepare(loaded, [text for _, text in texts], truncate=truncate)
    try:
        seen = _forward(loaded, numbers, prepared, studies)
        return [study.take(loaded, batch) for study, batch in zip(studies, seen, strict=True)]
    except OtherAxesError:
        alone = [
            MeasuredBatch((number,), None, (), tuple(record_texts(loaded, [text], truncate=truncate)))
            for number, text in texts
        ]
        return [State.merge([study.take(loaded, batch) for batch in alone]) for study in studies]


def _forward(
    loaded: LoadedModel, numbers: tuple[int, ...], prepared: Prepared, studies: Sequence[Study[Any]]
) -> list[MeasuredBatch]:
    measures = [study.measuring(loaded, prepared) for study in studies]

    def measure(place: CallSite | Site, weights: AttentionWeights) -> list[Any]:
        check_axes(prepared, place.stack, place.kind, weights)
        return [None if each is None else each(place.stack, place.kind, weights) for each in measures]

    records: tuple[CapturedAttention, ...] = ()
    if any(study.reads_weights for study in studies):
        forward = run(loaded, prepared)
        sites = [(site, measure(site, weights)) for site, weights in forward.sites]
        records = tuple(record_of(loaded, prepared, forward, index) for index in range(len(prepared.source)))
    else:
        sites = run(loaded, prepared, keep=measure).sites
    return [
        MeasuredBatch(
            numbers,
            prepared,
            () if measures[number] is None else tuple((site, kept[number]) for site, kept in sites),
            records if study.reads_weights else (),
        )
        for number, study in enumerate(studies)
    ]
