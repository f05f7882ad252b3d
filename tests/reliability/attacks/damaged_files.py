"""One flipped bit or a cut anywhere in a file: it must be refused, or say what it said before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.cache import RecordCache
from attention_analyzer.heads.depth import DepthProfiles
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.run.runner import run_studies
from attention_analyzer.training.history import History
from attention_analyzer.training.snapshot_store import MomentStore
from attention_analyzer.view.content import payload
from attention_analyzer.view.payload import read_payload
from tests.damage import damaged_copies
from tests.reliability.attack import Attack

CHEAP = DepthProfiles(chosen_metrics(["previous_weight"]))
TEXT = "The keys to the old cabinet were on the table."


@cache
def record() -> AttentionRecord:
    return AttentionAnalyzer("demo-encoder", cache=False).record(TEXT)


def content_of(found: AttentionRecord) -> Hashable:
    weights = [torch.stack([entry.weights[head] for head in range(entry.site.heads)]) for entry in found.entries]
    return (found.tokens, found.sites, found.model_name, tuple(each.numpy().tobytes() for each in weights))


def _record(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    path = record().save(folder / "one.attn")
    return path, lambda: content_of(AttentionRecord.load(path))


def _stored_weights(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    weights = [entry.weights.full() for entry in record().entries]
    path = AttentionRecord.from_weights(weights, record().tokens).save(folder / "weights.attn")
    return path, lambda: content_of(AttentionRecord.load(path))


def _kept(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    kept = RecordCache(folder / "cache")
    kept.put("key", record())
    # A file that cannot be read is made again.
    return folder / "cache" / "key.attn", lambda: content_of(kept.get("key") or record())


def _history(name: str) -> Callable[[Path], tuple[Path, Callable[[], Hashable]]]:
    def make(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
        saved = History.load("demo-decoder-history").save(folder / "history")
        return saved / name, lambda: _content_of_history(History.load(saved))

    return make


def _moment(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    whole = History.load("demo-decoder-history")
    store = MomentStore(folder / "tracked")
    store.describe(whole.model_name, whole.source, whole.target)
    for step in whole.steps[:3]:
        store.write(step, whole.at(step))
    path = next((store.folder / "moments").iterdir())
    return path, lambda: _content_of_history(History.load(store.folder))


def _content_of_history(history: History) -> Hashable:
    return history.table.to_csv(), history.model_name, history.source, history.target


def _payload(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    path = folder / "payload.bin"
    path.write_bytes(payload(record()))

    def content() -> Hashable:
        found = read_payload(path.read_bytes())
        blocks = [found.block(number).tobytes() for number in range(len(found.header["blocks"]))]
        return repr(found.header), tuple(blocks)

    return path, content


def _chunk_of_study(folder: Path) -> tuple[Path, Callable[[], Hashable]]:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)

    def content() -> Hashable:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # says which file is damaged
            learned = run_studies(analyzer.loaded, [TEXT] * 3, [CHEAP], store=folder / "study")
        (state,) = learned.states
        arrays = {**state.arrays, **state.sums}
        return state.texts, state.sites, tuple((name, arrays[name].tobytes()) for name in sorted(arrays))

    content()
    return next((folder / "study").iterdir()), content


def damaged(name: str, make: Callable[[Path], tuple[Path, Callable[[], Hashable]]], share: float = 1.0) -> Attack:
    """An attack on one kind of file.

    Args:
        make: writes a file into a folder; its path, and what reads it.
    """

    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        path, content = make(folder)
        expected, good = content(), path.read_bytes()
        while True:
            for bad in damaged_copies(good, 100, seed=chance.randrange(1 << 30)):
                path.write_bytes(bad)
                yield lambda: content() == expected

    return Attack(f"One bit flipped, or cut: {name}", attempts, share)


DAMAGED_FILES = (
    damaged("record", _record),
    damaged("record of given weights", _stored_weights),
    damaged("kept record", _kept),
    damaged("history", _history("history.parquet")),
    damaged("a history's description", _history("history.json")),
    damaged("moment of a training", _moment),
    damaged("page payload", _payload),
    damaged("chunk of a study, measured again", _chunk_of_study, share=0.3),
)
