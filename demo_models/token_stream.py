"""Documents as one long array of token ids that random windows are cut from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from demo_models.corpus import Corpus, Document


@dataclass(frozen=True)
class TokenStream:
    """Token ids of all documents, with the places where a paragraph begins."""

    tokens: np.ndarray
    starts: np.ndarray

    def windows(self, generator: np.random.Generator, count: int, length: int) -> np.ndarray:
        """`count` windows of `length` tokens, each opening a paragraph; wraps round at the end."""
        first = generator.choice(self.starts, size=count)
        places = (first[:, None] + np.arange(length)[None, :]) % len(self.tokens)
        return self.tokens[places].astype(np.int64)


def encode_documents(documents: list[Document], tokenizer: PreTrainedTokenizerFast, separator: int) -> TokenStream:
    """Encode paragraph by paragraph; `separator` closes every document."""
    lines = [line for document in documents for line in document]
    closes = np.zeros(len(lines), dtype=bool)
    closes[np.cumsum([len(document) for document in documents]) - 1] = True
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    pieces, starts, position = [], [], 0
    for encoding, closing in zip(encodings, closes, strict=True):
        ids = [*encoding.ids, separator] if closing else encoding.ids
        starts.append(position)
        pieces.append(np.asarray(ids, dtype=np.uint16))
        position += len(ids)
    return TokenStream(np.concatenate(pieces), np.asarray(starts))


def streams_of(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, separator: int, folder: Path
) -> dict[str, TokenStream]:
    """`novels_train`, `novels_held_out`, `stories_train`, `stories_held_out`, kept in `folder`."""
    documents = {
        "novels_train": corpus.novels.train,
        "novels_held_out": corpus.novels.held_out,
        "stories_train": corpus.stories.train,
        "stories_held_out": corpus.stories.held_out,
    }
    return {name: _kept_stream(folder / f"{name}.npz", documents[name], tokenizer, separator) for name in documents}


def _kept_stream(
    path: Path, documents: list[Document], tokenizer: PreTrainedTokenizerFast, separator: int
) -> TokenStream:
    """The encoded documents, from `path` where an earlier start already encoded them."""
    if path.exists():
        stored = np.load(path)
        return TokenStream(stored["tokens"], stored["starts"])
    stream = encode_documents(documents, tokenizer, separator)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, tokens=stream.tokens, starts=stream.starts)
    return stream
