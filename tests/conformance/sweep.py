"""Many types examined, each in a process of its own with bounds on time and memory, so that none takes others down."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

MEMORY = 8 << 30
#: Of processor time, so that a busy machine changes nothing; and how many times that may pass on the clock.
SECONDS = 120
PATIENCE = 10


class Running(NamedTuple):
    """A type that is being examined."""

    name: str
    process: BaseProcess
    pipe: Connection
    start: float


def sweep(types: Sequence[str], workers: int) -> Iterator[dict[str, Any]]:
    """Findings as they come. Children are forked, so what every type needs is imported once."""
    prepare()
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(types))
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(name, theirs), daemon=True)
                process.start()
                theirs.close()
                running.append(Running(name, process, ours, time.monotonic()))
            time.sleep(0.05)
            for one in list(running):
                finding = _poll(one)
                if finding is not None:
                    running.remove(one)
                    yield finding
    finally:
        for one in running:
            one.process.kill()
            one.process.join()


def prepare() -> None:
    """Import what all types need."""
    os.environ.update(TRANSFORMERS_VERBOSITY="critical", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes
    warnings.simplefilter("ignore")
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    import tests.conformance.examine  # noqa: F401 (children have it then)
    from attention_analyzer.weights.cpu.compiled import row_pass

    torch.set_num_threads(1)
    row_pass()
    # The compiler takes seconds to load, though flex attention asks it for nothing as long as it runs as written.
    importlib.import_module("torch._inductor.compile_fx")
    with torch.compiler.set_stance("force_eager"):
        flex_attention(*torch.ones(3, 1, 1, 2, 2))


def _child(name: str, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (a device, no file)
        os.dup2(nowhere.fileno(), 2)
    from tests.conformance.examine import examine

    pipe.send(asdict(examine(name)))


def _poll(one: Running) -> dict[str, Any] | None:
    """The finding, if there is one now."""
    if one.pipe.poll():
        try:
            finding = one.pipe.recv()
            one.process.join()
        except EOFError:
            one.process.join()
            return _failed(one.name, _ending(one.process.exitcode))
        return finding
    if not one.process.is_alive():
        return _failed(one.name, _ending(one.process.exitcode))
    if time.monotonic() - one.start > PATIENCE * SECONDS:
        one.process.kill()
        one.process.join()
        return _failed(one.name, f"did not end within {PATIENCE * SECONDS} s")
    return None


def _failed(name: str, reason: str) -> dict[str, Any]:
    from tests.conformance.finding import Finding

    return asdict(Finding(name, reason=reason))


def _ending(code: int | None) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"took longer than {SECONDS} s"
    return f"the process ended with {code}"
