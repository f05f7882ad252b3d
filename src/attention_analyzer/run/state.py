"""What a study has learned so far: arrays with one row per text, which files hold and which merge by joining."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.errors import FileFormatError
from attention_analyzer.fields import Fields
from attention_analyzer.files import draft_checksum, replaced, require_checksum, seal
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
    """

    texts: int = 0
    sites: tuple[Site, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def merge(cls, states: Sequence[State]) -> State:
        """The state of all their texts, in this order; empty states change nothing."""
        names = dict.fromkeys(name for state in states for name in state.arrays)
        return cls(
            sum(state.texts for state in states),
            tuple(dict.fromkeys(site for state in states for site in state.sites)),
            {name: np.concatenate([state.arrays[name] for state in states if name in state.arrays]) for name in names},
        )


def lines(values: Sequence[Any]) -> Array:
    """Values that are no numbers, one per text, as an array: lines of JSON in UTF-8."""
    return np.frombuffer("".join(json.dumps(value) + "\n" for value in values).encode(), dtype=np.uint8)


def read_lines(array: Array) -> list[Any]:
    """What :func:`lines` was given."""
    return [json.loads(line) for line in array.tobytes().splitlines()]


def save_states(path: Path, states: Sequence[State], key: str, problems: Sequence[tuple[int, str, str]]) -> None:
    """Write the states of one chunk of texts to a file with a checksum, which appears whole or not at all.

    Args:
        key: what the states were made from.
        problems: texts that were left out.
    """
    from safetensors.numpy import save_file

    draft = draft_checksum()
    header = {
        "checksum": draft,
        "key": key,
        "problems": list(problems),
        "states": [
            {
                "texts": state.texts,
                "sites": [[site.stack, site.kind, site.layer, site.heads, site.module] for site in state.sites],
            }
            for state in states
        ],
    }
    arrays = {
        f"{number}/{name}": np.ascontiguousarray(array)
        for number, state in enumerate(states)
        for name, array in state.arrays.items()
    }
    with replaced(path) as beside:
        save_file(arrays, beside, metadata={_ENTRY: json.dumps(header)})
        seal(beside, draft)


def load_states(path: Path, key: str) -> tuple[list[State], list[tuple[int, str, str]]] | None:
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
    for number, described in enumerate(header.any("states")):
        own = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{number}/")}
        states.append(State(described["texts"], tuple(Site(*site) for site in described["sites"]), own))
    return states, [tuple(problem) for problem in header.any("problems")]
