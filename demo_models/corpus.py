"""The training text: read, cleaned and split into training and held-out documents.

The text folder holds `novels.tar.xz` (plain-text novels, one file each) and
`tinystories_1000.json` (a list of short stories). A document is a list of paragraphs. Held-out
documents are whole novels and whole stories, so no sentence of them is ever trained on.
"""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

Document = list[str]

NOVELS, STORIES = SOURCES = ("novels.tar.xz", "tinystories_1000.json")
HELD_OUT_NOVELS = 5
HELD_OUT_STORIES = 50
#: Held-out passages on which heads are looked at.
PASSAGES_PER_NOVEL, PASSAGES_OF_STORIES = 4, 10


@dataclass(frozen=True)
class Split:
    """Documents of one kind."""

    train: list[Document]
    held_out: list[Document]


@dataclass(frozen=True)
class Corpus:
    """Novels bring breadth, simple stories bring everyday words."""

    novels: Split
    stories: Split


def read_corpus(folder: Path) -> Corpus:
    """Read and split both sources."""
    return Corpus(
        novels=_hold_out_evenly(_read_novels(folder / NOVELS), HELD_OUT_NOVELS),
        stories=_hold_out_evenly(_read_stories(folder / STORIES), HELD_OUT_STORIES),
    )


def passages(corpus: Corpus) -> list[str]:
    """Held-out paragraphs of ordinary length: a few of every novel, and the first of some stories."""
    found = []
    for document in corpus.novels.held_out:
        ordinary = [line for line in document if 20 <= len(line.split()) <= 120]
        found += ordinary[:: max(1, len(ordinary) // PASSAGES_PER_NOVEL)][:PASSAGES_PER_NOVEL]
    return found + [" ".join(story) for story in corpus.stories.held_out[:PASSAGES_OF_STORIES]]


def paragraphs(text: str) -> Document:
    """Paragraphs of a plain text, each on one line, without the underscores that mark italics."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("_", ""))
    lines = (" ".join(block.split()) for block in blocks)
    return [line for line in lines if line]


def _read_novels(archive: Path) -> list[Document]:
    texts: dict[str, str] = {}
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith(".txt"):
                texts[member.name] = file.read().decode("utf-8", errors="replace")
    return [paragraphs(texts[name]) for name in sorted(texts)]


def _read_stories(path: Path) -> list[Document]:
    return [paragraphs(story) for story in json.loads(path.read_text(encoding="utf-8"))]


def _hold_out_evenly(documents: list[Document], count: int) -> Split:
    """Every n-th document is held out, starting in the middle of the first stretch."""
    stride = len(documents) // count
    chosen = set(range(stride // 2, stride * count, stride))
    return Split(
        train=[d for i, d in enumerate(documents) if i not in chosen],
        held_out=[d for i, d in enumerate(documents) if i in chosen],
    )
