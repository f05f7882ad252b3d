"""Records whose checksums fit, but whose fields were changed by somebody who knows the format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attention_analyzer import AttentionRecord
from attention_analyzer.files import draft_checksum, seal
from tests.reliability.attack import Attack
from tests.reliability.attacks.damaged_files import record

VALUES: tuple[Any, ...] = (
    *(None, True, "x", "", [], {}, [1], 0, -1, 1, 3, 400, 10**9, 2**70, 0.5, -1e308, 10**400),
    *([None] * 7, ["a"] * 11, "\ud800", {"origin": 10**9, "queries": 5, "keys": 5}),
)


def rewrite(path: Path, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """A record's file with another header or other tensors, and a checksum that fits."""
    draft = draft_checksum()
    save_file(tensors, path, metadata={"attention_analyzer": json.dumps(header | {"checksum": draft})})
    seal(path, draft)


def _usable(path: Path) -> Callable[[], bool]:
    def attempt() -> bool:
        loaded = AttentionRecord.load(path)
        table = loaded.heads()
        return len(table) == sum(site.heads for site in loaded.sites)

    return attempt


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object with every one of its places."""
    if isinstance(value, dict | list):
        for place in value if isinstance(value, dict) else range(len(value)):
            yield value, place
            yield from places(value[place])


def _headers(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
    path = record().save(folder / "crafted.attn")
    with safe_open(path, "pt") as opened:
        text = opened.metadata()["attention_analyzer"]
    tensors = load_file(path)
    while True:
        header = json.loads(text)
        inner, place = chance.choice([found for found in places(header) if found[1] != "checksum"])
        if chance.random() < 0.15:
            del inner[place]
        else:
            inner[place] = chance.choice(VALUES)
        rewrite(path, header, tensors)
        yield _usable(path)


def _tensors(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
    path = record().save(folder / "crafted.attn")
    with safe_open(path, "pt") as opened:
        header = json.loads(opened.metadata()["attention_analyzer"])
    good = load_file(path)
    parts = (
        "query",
        "key",
        "sinks",
        "bias",
        "diagonals",
        "mask",
        "key_seen",
        "query_segments",
        "key_segments",
        "weights",
    )
    dtypes = (torch.float32, torch.float16, torch.float64, torch.int64, torch.bool)
    while True:
        site = chance.choice(header["sites"])
        name = f"{site['stack']}.{site['kind']}.{site['layer']}.{chance.choice(parts)}"
        before = good.get(name, torch.zeros(1, 4, 12, 16))
        shape = [
            chance.choice([size, size, size, 0, 1, 2, 7, size + 1]) for size in before.shape[: chance.randint(1, 4)]
        ]
        rewrite(path, header, good | {name: torch.ones(shape).to(chance.choice(dtypes))})
        yield _usable(path)


CRAFTED_RECORDS = (
    Attack("A record's header with another value anywhere, its checksum right", _headers),
    Attack("A record's tensor of another shape or kind, its checksum right", _tensors),
)
