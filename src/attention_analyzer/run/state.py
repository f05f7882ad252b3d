"""What a study has learned so far: arrays, which files hold; one row per text, joined, or sums, added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.errors import FileFormatError
from attention_analyzer.fields import Fields
from attention_analyzer.files import draft_checksum, exported, require_checksum, seal
from attention_analyzer.site import Site

Array = np.ndarray[Any, np.dtype[Any]]
_ENTRY = "attention_analyzer_study"


@dataclass(frozen=True)
class State:
    """Sufficient statistics of some texts.

    Attributes:
        texts: how many.
        sites: those that were measured, in the order they were called.
        arrays: by name, joined along the first axis when states merge.
        sums: by name, added when states merge; a shorter one as if it ended in zeros.
    """

    texts: int = 0
    sites: tuple[Site, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)
    sums: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def merge(cls, states: Sequence[State]) -> State:
        """The state of all their texts, in this order; empty states change nothing."""
        names = dict.fromkeys(name for state in states for name in state.arrays)
        return cls(
            sum(state.texts for state in states),
            tuple(dict.fromkeys(site for state in states for site in state.sites)),
            {name: np.concatenate([state.arrays[name] for state in states if name in state.arrays]) for name in names},
            {
                name: _added([state.sums[name] for state in states if name in state.sums])
                for name in dict.fromkeys(name for state in states for name in state.sums)
            },
        )


def _added(parts: Sequence[Array]) -> Array:
    total = np.zeros((max(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for part in parts:
        total[: len(part)] += part
    return total


def lines(values: Sequence[Any]) -> Array:
    """Values that are no numbers, one per text, as an array: lines of JSON in UTF-8."""
    return np.frombuffer("".join(json.dumps(value) + "\n" for value in values).encode(), dtype=np.uint8)


def read_lines(array: Array) -> list[Any]:
    """What :func:`lines` was given."""
    return [json.loads(line) for line in array.tobytes().splitlines()]


def save_states(path: Path, states: Sequence[State], key: str) -> None:
    """Write the states of one chunk of texts to a file with a checksum, which appears whole or not at all.

    Args:
        key: what the states were made from.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    draft = draft_checksum()
    header = {
        "checksum": draft,
        "key": key,
        "states": [
            {
                "texts": state.texts,
                "sites": [[site.stack, site.kind, site.layer, site.heads, site.module] for site in state.sites],
            }
            for state in states
        ],
    }
    arrays = {
        f"{number}/{what}/{name}": np.ascontiguousarray(array)
        for number, state in enumerate(states)
        for what in ("arrays", "sums")
        for name, array in getattr(state, what).items()
    }
    with exported(path) as beside:
        try:
            save_file(arrays, beside, metadata={_ENTRY: json.dumps(header)})
            seal(beside, draft)
        except SafetensorError as error:  # the library's form of an OSError
            raise OSError(str(error)) from None


def load_states(path: Path, key: str) -> list[State] | None:
    """What :func:`save_states` wrote; None where it was made from something else.

    Raises:
        FileFormatError: the file is not as it was written.
    """
    from safetensors import SafetensorError, safe_open

    require_checksum(path, is_old=False, what=f"The study's file {path}")
    try:
        with safe_open(path, framework="numpy") as opened:
            header = Fields.parse((opened.metadata() or {}).get(_ENTRY, ""), str(path))
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path} is no study's file: {error}.") from None
    if header.text("key") != key:
        return None
    states = []
    try:
        for number, described in enumerate(header.any("states")):
            sites = tuple(Site(*site) for site in described["sites"])
            rows, sums = (_below(arrays, f"{number}/{what}/") for what in ("arrays", "sums"))
            states.append(State(described["texts"], sites, rows, sums))
    except (KeyError, TypeError):
        raise FileFormatError(f"{path} describes its states otherwise than a study does.") from None
    return states


def _below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
