"""The GPU kernels are compiled for cards of two generations; none is needed for that."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What a block may hold on the smallest of the cards that have bfloat16.
SHARED = 99 << 10


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_compile_and_fit(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compilation", "bfloat16"],
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert {(line["kernel"], line["target"]) for line in found} == {
        (kernel, target) for kernel in ("row_kernel", "column_kernel") for target in (80, 90)
    }
    assert all(line["shared"] <= SHARED for line in found), found
    # Next to nothing is spilled; keys of coming tiles are loaded ahead where the tile has no loop of its own.
    assert all(line["STACK"] <= 16 for line in found), found
    assert all(line["shared"] >= 32 << 10 for line in found if line["request"] != "all"), found
