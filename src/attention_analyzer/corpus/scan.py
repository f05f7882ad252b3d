"""The scan: chunks from the input, through an engine, into the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from attention_analyzer.corpus.chunks import CHUNK_CHARACTERS, CHUNK_TEXTS, Problem, Rows, rows_of
from attention_analyzer.corpus.corpus import Corpus
from attention_analyzer.corpus.manifest import MOST_EXAMPLES, Manifest
from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.scan_progress import Progress, bar
from attention_analyzer.corpus.state_tables import MOST_PROBLEMS, most_rows, problems_of, summary_of, tables_of
from attention_analyzer.corpus.store import STATE, Store, told
from attention_analyzer.corpus.summary import Summary
from attention_analyzer.corpus.worker import ChunkResult, WorkSettings, work
from attention_analyzer.errors import FileFormatError, InputError, OnError, Option, check_on_error
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.run.engines import Engine, results_of
from attention_analyzer.text.readers import ReadOptions
from attention_analyzer.text.readers.row import Unit

#: Seconds of work between two commits, at most one chunk more.
COMMIT_EVERY = 5.0


def scan(
    loaded: LoadedModel,
    inputs: Any,
    store: str | Path,
    *,
    column: str | None = None,
    unit: Unit = "line",
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    truncate: bool = False,
    examples: int = 10,
    links: bool = True,
    batch_tokens: int = 4096,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    errors: OnError = "skip",
    progress: bool | Callable[[Progress], None] = True,
) -> Corpus:
    """Measure every head on every text; see :meth:`.AttentionAnalyzer.scan`."""
    for name, value, least in (("examples", examples, 0), ("batch_tokens", batch_tokens, 1)):
        if value < least:
            raise InputError(f"{name} must be at least {least}, not {value}.")
    if examples > MOST_EXAMPLES:
        raise InputError(f"examples must be at most {MOST_EXAMPLES:,}, not {examples:,}.")
    check_on_error(errors)
    settings = WorkSettings(truncate, examples, links, batch_tokens)
    rows = Rows(rows_of(inputs, ReadOptions(column, unit, encoding, delimiter, header)))
    target = Store(Path(store))
    with target.locked(), _shown(progress) as show:
        scanning = _Scanning.begun(loaded, target, settings)
        rows.skip(scanning.manifest.rows, scanning.manifest.digest)
        chunks = rows.chunks(scanning.manifest.chunks)
        started = time.monotonic()
        for result in results_of(
            engine, loaded, chunks, partial(work, settings=settings), workers=workers, address=address
        ):
            if result.problems and errors == "raise":
                raise InputError(f"{result.problems[0]}", [Option("errors", "'skip'", "pass {} to skip such rows")])
            scanning.add(result)
            if show is not None:
                show(scanning.progress(time.monotonic() - started, result.share))
        scanning.finish()
    return Corpus.load(store)


def _shown(
    progress: bool | Callable[[Progress], None],
) -> AbstractContextManager[Callable[[Progress], None] | None]:
    if progress is True:
        return bar()
    return nullcontext(progress or None)


@dataclass
class _Scanning:
    """What is done so far; results are added in the order of their chunks."""

    store: Store
    settings: WorkSettings
    manifest: Manifest
    summary: Summary | None
    problems: list[Problem]
    before: Manifest
    committed: float

    @classmethod
    def begun(cls, loaded: LoadedModel, store: Store, settings: WorkSettings) -> _Scanning:
        """A new scan, or the one that the store holds.

        Raises:
            InputError: the store was begun with another model or other settings.
            FileFormatError: what the store had is damaged.
        """
        chunk = {"chunk_texts": CHUNK_TEXTS, "chunk_characters": CHUNK_CHARACTERS, "measures": list(MEASURES)}
        wanted = Manifest(loaded.name, loaded.fingerprint, {**asdict(settings), **chunk})
        if not store.exists and any(store.folder.glob("[!.]*")):
            raise InputError(f"{store.folder} holds other files and no scan; choose an empty or a new folder.")
        manifest = store.manifest() if store.exists else wanted
        if not manifest.rows:
            # From now on the folder is a store, even if it is killed before anything is finished.
            store.commit(wanted, {})
            return cls(store, settings, wanted, None, [], wanted, time.monotonic())
        _check_same(store, manifest, wanted)
        if damage := store.verify(manifest, foreign=False):
            raise FileFormatError(
                f"{store.folder} cannot be continued, because it is damaged: {told(damage)}",
                ["restore these files", "scan into another folder (the rest can still be queried)"],
            )
        manifest = replace(store.adopt(manifest), finished=False)
        most = most_rows(manifest.sites, settings.examples)
        tables = {name: store.read(name, manifest, most[name]) for name in STATE} if manifest.chunks else {}
        summary = summary_of(manifest.sites, tables, settings.examples) if manifest.sites else None
        problems = problems_of(tables["problems"]) if tables else []
        return cls(store, settings, manifest, summary, problems, manifest, time.monotonic())

    def add(self, result: ChunkResult) -> None:
        """Take a chunk's result in, and commit if that was long ago."""
        files = self.store.write_part("texts", result.number, result.texts)
        files |= self.store.write_part("tokens", result.number, result.tokens)
        if result.summary is not None:
            self.summary = result.summary if self.summary is None else self.summary.merge(result.summary)
        self.problems += result.problems[: max(0, MOST_PROBLEMS - len(self.problems))]
        done = self.manifest
        self.manifest = replace(
            done,
            sites=[asdict(site) for site in self.summary.sites] if self.summary is not None else [],
            linked=list(result.linked) or done.linked,
            chunks=result.number + 1,
            rows=result.stop,
            digest=result.digest,
            texts=done.texts + result.text_count,
            tokens=done.tokens + result.token_count,
            batches=done.batches + result.batches,
            proved=done.proved + result.proved,
            deviation=max(done.deviation, result.deviation),
            problems=done.problems + len(result.problems),
            files={**(done.files or {}), **files},
        )
        if time.monotonic() - self.committed > COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        summary = Summary.empty((), self.settings.examples) if self.summary is None else self.summary
        self.manifest = self.store.commit(self.manifest, tables_of(summary, self.problems))
        self.committed = time.monotonic()

    def finish(self) -> None:
        """Raises InputError if there was no row at all."""
        if not self.manifest.rows:
            raise InputError("The input has no text; at least one line with a visible character is needed.")
        self.manifest = replace(self.manifest, finished=True)
        self.commit()

    def progress(self, seconds: float, share: float | None) -> Progress:
        done, before = self.manifest, self.before
        return Progress(
            texts=done.texts,
            tokens=done.tokens,
            problems=done.problems,
            share=share,
            seconds=seconds,
            texts_now=done.texts - before.texts,
            tokens_now=done.tokens - before.tokens,
            rows_before=before.rows / done.rows if done.rows else 0.0,
        )


def _check_same(store: Store, has: Manifest, wanted: Manifest) -> None:
    if has.fingerprint != wanted.fingerprint:
        raise InputError(
            f"{store.folder} was created with the model {has.model} ({has.fingerprint[:8]}), and this is "
            f"{wanted.model} "
            f"({wanted.fingerprint[:8]}); use that model, or another folder."
        )
    for name in {**has.settings, **wanted.settings}:
        before, now = has.settings.get(name), wanted.settings.get(name)
        if before != now:
            raise InputError(
                f"{store.folder} was created with {name}={before!r}, and now it is {now!r}; "
                "use the same setting, or another folder."
            )
