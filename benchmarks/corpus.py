"""Scans of many short texts: ``python -m benchmarks.corpus [--texts 10000] [--ray]``.

Measured in one run on all-MiniLM-L6-v2, the ways in turns: the plain batched forward (the same batches, tokenized and
padded, nothing listened to), the scan, and an eager forward that hands over full matrices with the same measures in
NumPy, whose means must be the scan's. Peak memory is that of the scan at a tenth of the texts and at all of them, each
in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus.chunks import Rows, rows_of
from attention_analyzer.corpus.worker import WorkSettings, _batches
from attention_analyzer.inputs import prepare
from attention_analyzer.text.readers import ReadOptions
from benchmarks.by_numpy import by_numpy

MODEL = "all-MiniLM-L6-v2"
#: Texts that are measured the slow way; its time per token does not depend on their number.
EAGER_TEXTS = 1000
WORDS = (
    "the a one this that old small green quiet heavy river house garden teacher doctor winter letter window engine "
    "sees finds carries opens follows before after under near without and but because slowly often never again"
).split()


def short_texts(count: int, seed: int = 0) -> list[str]:
    """Sentences of 5 to 40 words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 40))).capitalize() + "." for _ in range(count)]


def batches(analyzer: AttentionAnalyzer, texts: list[str]) -> Iterator[list[str]]:
    """The scan's own batches."""
    for chunk in Rows(rows_of(texts, ReadOptions())).chunks(0):
        for batch in _batches(analyzer.loaded, chunk.texts, WorkSettings(), []):
            yield [str(row.text) for _, row in batch]


def plain(analyzer: AttentionAnalyzer, texts: list[str]) -> int:
    """Tokenize, pad, run; how many tokens there were."""
    tokens = 0
    with torch.no_grad():
        for batch in batches(analyzer, texts):
            inputs = analyzer.tokenizer(batch, padding=True, return_tensors="pt")
            analyzer.model(**inputs)
            tokens += int(inputs["attention_mask"].sum())
    return tokens


def eager(analyzer: AttentionAnalyzer, texts: list[str]) -> tuple[int, pd.Series]:
    """Full matrices, and all measures from them in NumPy, text by text so that padding does not count.

    Returns:
        How many tokens there were, and the mean over texts of every measure of every head.
    """
    tokens = 0
    found: list[list[dict[str, np.ndarray]]] = []
    analyzer.model.set_attn_implementation("eager")
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # means of nothing
        for batch in batches(analyzer, texts):
            prepared = prepare(analyzer.loaded, batch)
            matrices = [layer.numpy() for layer in analyzer.model(**prepared.inputs, output_attentions=True).attentions]
            for row, text in enumerate(prepared.source):
                size = len(text)
                found.append([by_numpy(layer[row, :, :size, :size], text)[0] for layer in matrices])
                tokens += size
        means = {
            (layer, head, name): value
            for layer in range(len(matrices))
            for name in found[0][layer]
            for head, value in enumerate(np.nanmean([text[layer][name] for text in found], 0))
        }
    analyzer.model.set_attn_implementation("sdpa")
    return tokens, pd.Series(means, name="by hand").rename_axis(["layer", "head", "measure"])


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = what()
    return result, time.perf_counter() - started


def scan(analyzer: AttentionAnalyzer, texts: list[str], **options: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return analyzer.scan(texts, Path(folder) / "store", progress=False, **options).manifest.tokens


def check_equal(analyzer: AttentionAnalyzer, texts: list[str], by_hand: pd.Series) -> float:
    """The largest difference between the scan's means and those of the matrices; an error beyond 1e-4."""
    with tempfile.TemporaryDirectory() as folder:
        scanned = analyzer.scan(texts, Path(folder) / "store", progress=False).heads()
    both = scanned.set_index(by_hand.index.names).join(by_hand, how="right")
    np.testing.assert_allclose(both["mean"], both["by hand"], rtol=1e-4, atol=1e-5)
    return float((both["mean"] - both["by hand"]).abs().max())


def peak(texts: int) -> float:
    """Peak memory in GB of a scan of so many texts, which are read from a file."""
    code = (
        "import resource, sys, tempfile\nfrom pathlib import Path\n"
        "from attention_analyzer.analyzer import AttentionAnalyzer\n"
        "from benchmarks.corpus import MODEL, short_texts\n"
        "folder = Path(tempfile.mkdtemp())\n"
        "with (folder / 'texts.txt').open('w') as file:\n"
        f"    file.writelines(text + chr(10) for text in short_texts({texts}))\n"
        "AttentionAnalyzer(MODEL, cache=False).scan(folder / 'texts.txt', folder / 'store', progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def over_ray(analyzer: AttentionAnalyzer, texts: list[str], cores_each: int) -> dict[str, Any]:
    """One worker and two, each with the same number of cores; the start of the workers is part of the time."""
    import ray

    found: dict[str, Any] = {"cores each": cores_each}
    for workers in (1, 2):
        ray.init(num_cpus=workers * cores_each, include_dashboard=False, log_to_driver=False, logging_level="error")
        tokens, seconds = timed(lambda: scan(analyzer, texts, engine="ray", workers=workers))  # noqa: B023
        ray.shutdown()
        found[f"{workers} workers, tokens per second"] = round(tokens / seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3, help="in turns; the fastest of each counts")
    parser.add_argument("--ray", action="store_true", help="also one and two Ray workers")
    parser.add_argument("--no-memory", action="store_true")
    options = parser.parse_args()
    analyzer = AttentionAnalyzer(MODEL, cache=False)
    texts = short_texts(options.texts)
    for warm in (plain, scan):
        warm(analyzer, texts[:200])
    rates: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, way in (("plain forward", plain), ("scan", scan)):
            tokens, seconds = timed(lambda way=way: way(analyzer, texts))
            rates[name] = max(rates.get(name, 0.0), tokens / seconds)
            print(f"{name}: {tokens:,} tokens in {seconds:.1f} s", file=sys.stderr, flush=True)
    (tokens, by_hand), seconds = timed(lambda: eager(analyzer, texts[:EAGER_TEXTS]))
    rates["eager, matrices, NumPy"] = tokens / seconds
    found: dict[str, Any] = {
        "texts": options.texts,
        "cores": len(os.sched_getaffinity(0)),
        "largest difference from the matrices": check_equal(analyzer, texts[:EAGER_TEXTS], by_hand),
        "tokens per second": {name: round(rate) for name, rate in rates.items()},
        "share of the plain forward": round(rates["scan"] / rates["plain forward"], 3),
        "times eager": round(rates["scan"] / rates["eager, matrices, NumPy"], 2),
    }
    if not options.no_memory:
        few = options.texts // 10
        found["peak GB"] = {str(count): round(peak(count), 3) for count in (few, options.texts)}
    if options.ray:
        found["ray"] = over_ray(analyzer, texts, found["cores"] // 2)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
