"""The viewer's programs as they are committed, for every host; torch is not needed to hand them over."""

from __future__ import annotations

import zlib
from functools import cache
from importlib.resources import files


@cache
def viewer_source() -> str:
    """The viewer, as it stands in notebooks, in Streamlit and in pages."""
    return _static("viewer.js").decode("utf-8")


@cache
def space_deflated() -> tuple[bytes, int]:
    """The part that only the 3D view loads, deflated, and its size before."""
    program = _static("space.js")
    return zlib.compress(program, 9), len(program)


def _static(name: str) -> bytes:
    return (files("attention_analyzer.view") / "static" / name).read_bytes()
