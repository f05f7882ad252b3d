"""Engines: chunks of texts through a model, in this process or on a Ray cluster, with the same results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.run.ray import work_with_ray
from attention_analyzer.run.work import C, R, Work

Engine = Literal["local", "ray"]


def check_engine(engine: str, workers: int | None, address: str | None) -> None:
    """Raise an :class:`InputError` unless there is this engine and the other arguments belong to it."""
    if engine not in ("local", "ray"):
        raise InputError(f"There is no engine {engine!r}; the engines are local and ray.")
    if engine == "local" and (workers not in (None, 1) or address is not None):
        raise InputError("workers and address require the ray engine.")


def results_of(
    engine: str,
    loaded: LoadedModel,
    chunks: Iterator[C],
    work: Work[C, R],
    *,
    workers: int | None = None,
    address: str | None = None,
) -> Iterator[R]:
    """The results in the order of the chunks, each as soon as it is there.

    Args:
        engine: "local", or "ray".
        workers, address: for Ray; see :func:`.ray.work_with_ray`.
    """
    check_engine(engine, workers, address)
    if engine == "ray":
        return work_with_ray(loaded, chunks, work, workers=workers, address=address)
    return (work(loaded, chunk) for chunk in chunks)
