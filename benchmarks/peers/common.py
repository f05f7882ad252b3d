"""What every peer's script shares: inputs, check, time and memory. Runs in the peer's environment."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

FOLDER = Path(sys.argv[1])
TOKENS = sys.argv[2]
REPEATS = int(sys.argv[3])


def ids(tokens: str = TOKENS) -> torch.Tensor:
    return torch.tensor([json.loads((FOLDER / "inputs.json").read_text())[tokens]])


def load(backend: str):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FOLDER / "model", attn_implementation=backend).eval()


def report(run: Callable[[torch.Tensor], list[torch.Tensor]], file: Path | None = None) -> None:
    """Check the weights ``[head, query, key]`` per layer on the shortest text, then time the wanted one."""
    shortest = min(json.loads((FOLDER / "inputs.json").read_text()), key=int)
    expected = torch.load(FOLDER / "expected.pt", weights_only=True)
    difference = float((torch.stack(list(run(ids(shortest)))) - expected).abs().max())
    if difference > 1e-4:
        sys.exit(f"its weights differ by {difference:.1e} from the model's own")
    seconds = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(ids())
        seconds = min(seconds, time.perf_counter() - start)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM"))
    size = file.stat().st_size / 1e6 if file else None
    print(json.dumps({"seconds": seconds, "memory": peak, "file": size, "difference": difference}))
