"""Scans with two Ray workers, one of which is killed on the way, and by itself; a process of its own for Ray's sake.

Ray takes over signals and leaves handles open, which is its right in a program but not in a run of tests.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pandas as pd
import psutil
import ray
import torch

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Progress, chunks
from attention_analyzer.errors import InputError
from attention_analyzer.studies import Measures
from tests.corpus.conftest import sentences
from tests.linguistics.test_questions import bert


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # as each worker has
    chunks.CHUNK_TEXTS = 5
    texts = sentences(60)
    analyzer = AttentionAnalyzer.of(bert(), cache=False)
    analyzer.scan(texts, folder / "local", progress=False)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    killed: list[int] = []
    told: list[str] = []

    def kill_one(progress: Progress) -> None:
        if not killed:
            below = psutil.Process().children(recursive=True)
            workers = [each.pid for each in below if "ray::Worker" in " ".join(each.cmdline())]
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)
            told.append(f"killed one of {len(workers)}")

    analyzer.scan(texts, folder / "ray", engine="ray", workers=2, progress=kill_one)
    studies = [Measures()]
    (local,) = analyzer.study(texts, studies, batch_size=2)
    (cluster,) = analyzer.study(texts, studies, batch_size=2, engine="ray", workers=2, store=folder / "study")
    pd.testing.assert_frame_equal(cluster, local)
    told.append(f"{len(list((folder / 'study').iterdir()))} chunks of a study")
    for workers in (3, 0):
        try:
            analyzer.scan(texts, folder / "refused", engine="ray", workers=workers, progress=False)
        except InputError as error:
            told.append(str(error))
    # Ray writes to the streams as well.
    (folder / "told.txt").write_text("\n".join(told), encoding="utf-8")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
