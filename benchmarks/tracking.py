"""What tracking costs a training: ``python -m benchmarks.tracking [--steps 1000]``; writes it into docs/training.md.

A new model of the bundled decoder's shape learns made-up sentences, with the tracker at its default schedule and share.
What counts is the time inside the tracker, its first import and its first and last look included, beside that of the
whole training. Before that the same steps run without a tracker: the losses must be the same, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.training import AttentionTracker
from benchmarks.corpus import short_texts
from benchmarks.sections import write_section

MODEL, BATCH, LENGTH = "demo-decoder", 16, 256


def training(tokenizer: Any, config: Any, steps: int) -> Iterator[tuple[Any, int, float]]:
    """The model, the step and its loss, after each step and before the first."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.tensor(tokenizer("\n".join(short_texts(20_000)), verbose=False).input_ids)
    yield model, 0, float("nan")
    for step in range(1, steps + 1):
        starts = torch.randint(len(ids) - LENGTH, (BATCH,))
        batch = torch.stack([ids[start : start + LENGTH] for start in starts.tolist()])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield model, step, loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--same", type=int, default=100, help="steps whose losses are compared")
    options = parser.parse_args()
    analyzer = AttentionAnalyzer(MODEL, cache=False)
    config = AutoConfig.for_model(**analyzer.model.config.to_dict())
    untracked = [loss for _, step, loss in training(analyzer.tokenizer, config, options.same) if step]
    losses: list[float] = []
    inside = 0.0
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        tracker = AttentionTracker(folder, analyzer.tokenizer)
        for model, step, loss in training(analyzer.tokenizer, config, options.steps):
            losses += [loss] if step else []
            before = time.perf_counter()
            tracker.step(model, step, loss=loss if step else None)
            inside += time.perf_counter() - before
        before = time.perf_counter()
        tracker.finish()
        inside += time.perf_counter() - before
        whole = time.perf_counter() - started
        moments = len(tracker.history.steps)
    if losses[: options.same] != untracked:
        raise SystemExit("The losses differ with and without a tracker; nothing is reported.")
    found = {"steps": options.steps, "seconds": whole, "inside": inside, "share": inside / whole, "moments": moments}
    print(json.dumps(found, indent=1))
    line = (
        f"{options.steps:,} steps of {BATCH} × {LENGTH} tokens with a model of {MODEL}'s shape "
        f"({torch.get_num_threads()} threads): {whole:.0f} s, of which {inside:.1f} s ({inside / whole:.2%}) in the "
        f"tracker, which recorded {moments} moments; the first {options.same} losses are those without a tracker, bit "
        "for bit."
    )
    write_section("docs/training.md", "tracking-bench", line)


if __name__ == "__main__":
    main()
