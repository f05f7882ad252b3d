"""The Ray engine gives the local engine's tables, also when a worker is lost on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attention_analyzer.corpus import Corpus
from tests.corpus.test_scan import ROOT, same

pytest.importorskip("ray")


def test_the_same_tables_as_locally_though_a_worker_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.corpus.over_ray", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    killed, chunks, too_many, too_few = (tmp_path / "told.txt").read_text(encoding="utf-8").splitlines()
    assert killed == "killed one of 2"
    assert chunks == "2 chunks of a study"
    assert too_many.startswith("3 workers were asked for, but the cluster has 2 cores")
    assert too_few == "workers must be at least 1, not 0."
    over_ray, local = (Corpus.load(tmp_path / name) for name in ("ray", "local"))
    assert over_ray.manifest.texts == 60
    same(over_ray, local)
