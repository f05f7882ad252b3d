"""Runs any number of studies over texts, with one forward per batch.

Texts are cut into chunks of :data:`CHUNK` batches. An engine measures the chunks that are missing; with a folder, each
chunk's states are stored there, so that an interrupted run resumes and ends with the same states.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import xxhash

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import FileFormatError, InputError, OnError, check_on_error
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared, Text, numbered_errors, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import BATCH, batches, record_of, record_texts, run
from attention_analyzer.run.axes import OtherAxesError, check_axes
from attention_analyzer.run.engines import Engine, check_engine, results_of
from attention_analyzer.run.needs import United
from attention_analyzer.run.state import State, load_states, save_states
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Site
from attention_analyzer.usable_texts import UsableTexts, usable_texts
from attention_analyzer.weights.base import AttentionWeights

#: Batches between two files of a store.
CHUNK = 16


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


@dataclass(frozen=True)
class TextChunk:
    """A run of texts, by their numbers, that is measured as a whole.

    Attributes:
        key: what its states are made from: settings and texts.
    """

    texts: tuple[tuple[int, Text], ...]
    key: str

    @property
    def first(self) -> int:
        return self.texts[0][0]

    @property
    def stop(self) -> int:
        return self.texts[-1][0] + 1


@dataclass(frozen=True)
class WorkSettings:
    """What decides the states of a chunk, beside its texts and the model."""

    studies: tuple[Study[Any], ...]
    truncate: bool
    batch_size: int


def run_studies(
    loaded: LoadedModel,
    texts: Sequence[Text],
    studies: Sequence[Study[Any]],
    *,
    store: str | os.PathLike[str] | None = None,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: OnProgress | None = None,
) -> Learned:
    """The states of all studies.

    Args:
        store: a folder for the states, from which a run with the same texts and settings resumes. A file in it that is
            damaged is named in a warning, and its texts are measured again.
        truncate: cut what the model has no positions for.
        errors: "raise" ends at the first text that cannot be used; "skip" leaves it out and says so in ``problems``.
        engine: "local", or "ray" for a cluster; the states are the same.
        workers, address: for Ray; see :func:`.ray.work_with_ray`.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError, TooLongError: a text cannot be used, or the store was begun with other texts or settings.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    if not studies or not all(isinstance(study, Study) for study in studies):
        raise InputError("A list of at least one study was expected, such as [Patterns()].")
    check_engine(engine, workers, address)
    folder = None if store is None else Path(store)
    if folder is not None:
        _open_store(folder, texts)
    settings = WorkSettings(tuple(studies), truncate, batch_size)
    usable = UsableTexts.unchecked(texts)
    if check_on_error(errors) == "skip":
        usable = usable_texts(loaded, texts, errors=errors, truncate=truncate)
    chunks = _chunks(loaded, usable, settings)
    steps = ProgressCounter(len(usable.texts), progress) if usable.texts else None
    done: dict[int, list[State]] = {}
    for chunk in chunks:
        found = None if folder is None else _stored(folder, chunk)
        if found is not None:
            done[chunk.first] = found
            if steps is not None:
                steps.advance(len(chunk.texts))
    missing = [chunk for chunk in chunks if chunk.first not in done]
    # Over Ray a chunk is done when it arrives; in this process, batch by batch.
    work = partial(measure_chunk, settings=settings, steps=steps if engine == "local" else None)
    results = results_of(engine, loaded, iter(missing), work, workers=workers, address=address)
    for chunk, found in zip(missing, results, strict=True):
        if folder is not None:
            save_states(_path(folder, chunk), found, chunk.key)
        if engine != "local" and steps is not None:
            steps.advance(len(chunk.texts))
        done[chunk.first] = found
    parts = [[State() for _ in studies], *(done[chunk.first] for chunk in chunks)]
    merged = tuple(State.merge(states) for states in zip(*parts, strict=True))
    return Learned(merged, usable.problems)


def _chunks(loaded: LoadedModel, usable: UsableTexts[Text], settings: WorkSettings) -> list[TextChunk]:
    own = [study.settings for study in settings.studies]
    about = _digest((loaded.fingerprint, str(loaded.dtype), own, settings.truncate, settings.batch_size))
    return [
        TextChunk(tuple(chunk), _digest((about, chunk)))
        for chunk in batches(zip(usable.indices, usable.texts, strict=True), settings.batch_size * CHUNK)
    ]


def _digest(values: object) -> str:
    return xxhash.xxh3_128_hexdigest(repr(values).encode("utf-8", "surrogatepass"))


def _path(folder: Path, chunk: TextChunk) -> Path:
    return folder / f"texts-{chunk.first:09}.safetensors"


def _stored(folder: Path, chunk: TextChunk) -> list[State] | None:
    path = _path(folder, chunk)
    if not path.exists():
        return None
    try:
        found = load_states(path, chunk.key)
    except FileFormatError as error:
        warnings.warn(f"{str(error).rstrip('.')}; its texts are measured again.", stacklevel=2)
        return None
    if found is None:
        raise InputError(
            f"{folder} was created with other texts, studies or settings; use the same ones, or another folder."
        )
    return found


def _open_store(folder: Path, texts: Sequence[Any]) -> None:
    if not all(isinstance(part, str) for text in texts for part in (text if isinstance(text, tuple) else (text,))):
        raise InputError("A store resumes by its texts and pairs of texts; run other inputs without a store.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The store {folder} cannot be made: {error.strerror}; give another folder.") from None


def measure_chunk(
    loaded: LoadedModel, chunk: TextChunk, settings: WorkSettings, steps: ProgressCounter | None = None
) -> list[State]:
    """The states of one chunk, one per study."""
    studies, truncate = settings.studies, settings.truncate
    parts: list[list[State]] = [[State() for _ in studies]]
    for batch in batches(chunk.texts, loaded.at_once(settings.batch_size)):
        with numbered_errors(loaded, [text for _, text in batch], (number for number, _ in batch), truncate):
            parts.append(_batch(loaded, batch, studies, truncate))
        if steps is not None:
            steps.advance(len(batch))
    return [State.merge(states) for states in zip(*parts, strict=True)]


def _batch(
    loaded: LoadedModel, texts: Sequence[tuple[int, Text]], studies: Sequence[Study[Any]], truncate: bool
) -> list[State]:
    numbers = tuple(number for number, _ in texts)
    prepared = prepare(loaded, [text for _, text in texts], truncate=truncate)
    try:
        return take_prepared(loaded, numbers, prepared, studies).states
    except OtherAxesError:
        alone = [
            MeasuredBatch((number,), None, (), tuple(record_texts(loaded, [text], truncate=truncate)))
            for number, text in texts
        ]
        return [State.merge([study.take(loaded, batch) for batch in alone]) for study in studies]


@dataclass(frozen=True)
class Taken:
    """The states of one batch, one per study, and the largest relative deviation from the model's own outputs."""

    states: list[State]
    deviation: float = 0.0


def measured_sites(loaded: LoadedModel, prepared: Prepared, measure: Measure) -> list[tuple[Site, Any]]:
    """Every site of one forward with what ``measure`` keeps of it.

    Raises:
        OtherAxesError: the model pools or widens its sequences.
    """
    united = United(prepared)

    def keep(place: CallSite, weights: AttentionWeights) -> list[Any]:
        check_axes(prepared, place.stack, place.kind, weights)
        return united.add(place.stack, place.kind, weights, [measure(place.stack, place.kind, weights)])

    forward = run(loaded, prepared, keep=keep)
    united.finish()
    return [(site, kept[0]) for site, kept in forward.sites]


def take_prepared(
    loaded: LoadedModel,
    numbers: tuple[int, ...],
    prepared: Prepared,
    studies: Sequence[Study[Any]],
    *,
    check: bool = True,
) -> Taken:
    """One forward of a prepared batch, for all studies. There is none if no study measures anything of the weights.

    Args:
        numbers: of the texts.
        check: whether outputs are rebuilt from the weights and compared.

    Raises:
        OtherAxesError: the model pools or widens its sequences.
    """
    measures = [study.measuring(loaded, prepared) for study in studies]
    reads = [study.reads_weights for study in studies]
    sites: Sequence[tuple[Site, list[Any]]] = ()
    records: tuple[CapturedAttention, ...] = ()
    deviation = 0.0
    if any(reads) or any(measures):
        united = United(prepared)

        def measure(place: CallSite | Site, weights: AttentionWeights) -> list[Any]:
            check_axes(prepared, place.stack, place.kind, weights)
            found = [None if each is None else each(place.stack, place.kind, weights) for each in measures]
            return united.add(place.stack, place.kind, weights, found)

        if any(reads):
            forward = run(loaded, prepared, check=check)
            sites = [(site, measure(site, weights)) for site, weights in forward.sites]
            records = tuple(record_of(loaded, prepared, forward, index) for index in range(len(prepared.source)))
            deviation = forward.deviation
        else:
            measured = run(loaded, prepared, keep=measure, check=check)
            sites, deviation = measured.sites, measured.deviation
        united.finish()
    seen = [
        MeasuredBatch(
            numbers,
            prepared,
            () if measures[number] is None else tuple((site, kept[number]) for site, kept in sites),
            records if reads[number] else (),
        )
        for number in range(len(studies))
    ]
    return Taken([study.take(loaded, batch) for study, batch in zip(studies, seen, strict=True)], deviation)
