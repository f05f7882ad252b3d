"""Studies of many short texts: ``python -m benchmarks.studies [--texts 20000] [--kills 10] [--ray]``.

Three things are measured on the model demo-decoder, each with its results compared first:

- two studies in one run, against the dearer one alone;
- a run that is killed again and again and resumes from its store: its table must equal that of a run left alone;
- with ``--ray``, two Ray workers of one thread each against this process with one thread.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.run.runner import run_studies
from attention_analyzer.studies import CacheSizes, Measures, Patterns, Study
from benchmarks.corpus import short_texts

MODEL = "demo-decoder"
#: Texts for the comparison of two studies with one.
PAIRED_TEXTS = 256
_TURNS = 3
#: Pairs of studies that need much the same of the weights.
PAIRS: dict[str, tuple[Study[Any], Study[Any]]] = {
    "patterns + measures": (Patterns(probes=False), Measures()),
    "patterns + cache sizes": (Patterns(probes=False), CacheSizes(first=(1,), last=(4, 8))),
}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pair(analyzer: AttentionAnalyzer, studies: Sequence[Study[Any]], texts: list[str]) -> tuple[float, float]:
    """Seconds of the dearer study alone, and of both in one run; the best of some turns."""
    ways = [[study] for study in studies] + [list(studies)]
    taken = [[seconds(partial(run_studies, analyzer.loaded, texts, way)) for way in ways] for _ in range(_TURNS)]
    best = [min(turn[number] for turn in taken) for number in range(len(ways))]
    return max(best[:-1]), best[-1]


def table(texts: list[str], store: Path | None = None, **settings: Any) -> pd.DataFrame:
    """The labels of all heads."""
    analyzer = AttentionAnalyzer(MODEL, cache=False)
    (found,) = analyzer.study(texts, [Patterns(probes=False)], store=store, **settings)
    result: pd.DataFrame = found.table
    return result


def killed(count: int, kills: int, store: Path) -> int:
    """Run in processes that are killed as soon as they have stored one chunk more; how many were."""
    done = 0
    while done < kills:
        before = len(list(store.glob("*.safetensors")))
        command = [sys.executable, "-m", "benchmarks.studies", "--texts", str(count), "--into", str(store)]
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(store.glob("*.safetensors"))) <= before:
            time.sleep(0.05)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    texts = short_texts(chosen.texts)
    if chosen.into:
        table(texts, chosen.into)
        return
    analyzer = AttentionAnalyzer(MODEL, cache=False)
    for name, studies in PAIRS.items():
        dearer, both = pair(analyzer, studies, texts[:PAIRED_TEXTS])
        print(f"{name}: dearer alone {dearer:.2f} s, both {both:.2f} s, ratio {both / dearer:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        whole = table(texts)
        alone = time.perf_counter() - started
        print(f"{len(texts):,} texts in this process: {alone:.1f} s")
        if chosen.kills:
            store = Path(folder) / "store"
            store.mkdir()
            kills = killed(len(texts), chosen.kills, store)
            pd.testing.assert_frame_equal(table(texts, store), whole)
            print(f"killed {kills} times and resumed: the same table")
        if chosen.ray:
            import ray

            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
            started = time.perf_counter()
            over_ray = table(texts, engine="ray", workers=2)
            taken = time.perf_counter() - started
            pd.testing.assert_frame_equal(over_ray, whole)
            print(f"two Ray workers: {taken:.1f} s, {alone / taken:.2f}× of one process, the same table")


if __name__ == "__main__":
    main()
