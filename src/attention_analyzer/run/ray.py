"""The same work on a Ray cluster: one model per worker, results in the order of the chunks.

A chunk is worked on as a whole, by one worker, so a cluster's results are those of one machine. A worker that dies is
started again and its chunk runs again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from attention_analyzer.errors import AttentionAnalyzerError, InputError, MissingDependencyError
from attention_analyzer.hooks.pickling import picklable_copy
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.run.work import C, R, Work

#: How often a chunk may lose its worker before it is taken to be the chunk's fault.
LIVES = 4
#: Chunks that wait for, or are with, each worker.
_AHEAD = 2
_CORES_A_WORKER = 4


class Worker:
    """One model, in a process of its own somewhere in the cluster."""

    def __init__(self, loaded: LoadedModel, work: Work[Any, Any], threads: int) -> None:
        torch.set_num_threads(threads)
        self.loaded, self.does = loaded, work

    def work(self, chunk: Any) -> Any:
        return self.does(self.loaded, chunk)


def work_with_ray(
    loaded: LoadedModel, chunks: Iterator[C], work: Work[C, R], *, workers: int | None, address: str | None
) -> Iterator[R]:
    """Results in the order of the chunks.

    Args:
        work: a function of a module, or a :func:`functools.partial` of one: it is sent to the workers.
        workers: how many; by default one for every four cores, or one for every GPU if the model is on one.
        address: of a running cluster ("auto" finds it); None joins the one that this process has joined already, or
            starts one on this machine for as long as it is needed.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: the cluster has no room for so many workers.
        AttentionAnalyzerError: a chunk has killed its worker :data:`LIVES` times.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError("ray", "ray", "engine='ray'") from None

    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}.")
    joined = ray.is_initialized()
    if not joined:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        # Held until the end: a worker that is started again asks for it again.
        model = ray.put(replace(loaded, model=picklable_copy(loaded.model)))
        actors = _started(ray, loaded, model, work, workers)
        try:
            yield from _results(ray, actors, chunks)
        finally:
            # In a cluster that lives on, the next run needs their cores at once.
            for actor in actors:
                ray.kill(actor)
    finally:
        if not joined:
            ray.shutdown()


def _started(ray: Any, loaded: LoadedModel, model: Any, work: Work[Any, Any], workers: int | None) -> list[Any]:
    """The workers; ``model`` is the reference under which the cluster has the loaded one."""
    has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 1)), int(has.get("GPU", 0))
    on_gpu = loaded.device.type == "cuda"
    count = workers or (max(gpus, 1) if on_gpu else max(cores // _CORES_A_WORKER, 1))
    if count > (gpus if on_gpu else cores):
        raise InputError(f"{count} workers were asked for, but the cluster has {cores} cores and {gpus} GPUs.")
    threads = max(cores // count, 1)
    actor = ray.remote(Worker).options(
        num_cpus=1 if on_gpu else threads, num_gpus=1 if on_gpu else 0, max_restarts=-1, max_task_retries=LIVES - 1
    )
    return [actor.remote(model, work, threads) for _ in range(count)]


def _results(ray: Any, actors: list[Any], chunks: Iterator[C]) -> Iterator[Any]:
    """As many chunks ahead as keep the workers busy; memory is bounded by them."""
    waiting: list[tuple[C, Any]] = []
    rest = iter(chunks)
    turn = 0
    while True:
        while len(waiting) < _AHEAD * len(actors) and (chunk := next(rest, None)) is not None:
            waiting.append((chunk, actors[turn % len(actors)].work.remote(chunk)))
            turn += 1
        if not waiting:
            return
        chunk, reference = waiting.pop(0)
        yield _result(ray, chunk, reference)


def _result(ray: Any, chunk: C, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # What a worker raised on purpose is raised here as it was there.
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise AttentionAnalyzerError(
            f"Texts {chunk.first} to {chunk.stop - 1} lost their worker {LIVES} times ({type(error).__name__}); "
            "perhaps they need more memory than it has: run smaller batches or fewer workers. Finished ones are stored."
        ) from None
