"""The texts of an atlas: given ones, or those of a corpus store that the same model has scanned."""

from __future__ import annotations

from pathlib import Path

from attention_analyzer.corpus.corpus import Corpus
from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokenization import Pair


def is_store(path: str | Path) -> bool:
    """Whether a path is a folder that a corpus scan wrote."""
    return (Path(path) / "manifest.json").is_file()


def store_texts(store: str | Path, loaded: LoadedModel, most: int | None = None) -> list[str | Pair]:
    """The texts of a store, in their order.

    Args:
        loaded: the model, which must be the one that scanned them.
        most: take this many, evenly from all.

    Raises:
        InputError: there is no store, it has no texts, or it is another model's.
    """
    corpus = Corpus.load(store)
    if corpus.manifest.fingerprint != loaded.fingerprint:
        raise InputError(
            f"The store {store} is of {corpus.manifest.model}, which has other weights or configuration than "
            f"{loaded.name or 'this model'}; give the model that scanned it, or texts."
        )
    texts: list[str | Pair] = corpus.sql("SELECT content FROM texts ORDER BY text")["content"].tolist()
    if not texts:
        raise InputError(f"The store {store} has no texts; give a store that was scanned with texts, or a file.")
    step = 1 if most is None else max(1, len(texts) // most)
    return texts[::step][:most]
