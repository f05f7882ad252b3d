"""Work on chunks of texts: what every engine does, one chunk after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from attention_analyzer.models.loaded import LoadedModel


class Chunk(Protocol):
    """A run of texts that one worker takes as a whole: numbers of the first one and of the first one after it."""

    @property
    def first(self) -> int: ...
    @property
    def stop(self) -> int: ...


C = TypeVar("C", bound=Chunk)
R = TypeVar("R")
#: What is done with a model and a chunk. Its result depends on nothing else, so any engine gives the same.
Work: TypeAlias = Callable[[LoadedModel, C], R]
