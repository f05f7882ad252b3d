"""What ``capture`` costs: ``python -m benchmarks.capturing``; writes it into docs/own_model.md.

Four ways to run the same forward take turns: plain, ``analyzer.record(inputs=…)``, ``capture`` with its records, and
``capture`` that is asked for nothing. Before anything is timed, outputs must be the same bits in all of them and the
weights of both kinds of records equal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord, capture
from benchmarks.sections import write_section

MODEL = "all-MiniLM-L6-v2"
WORDS = "the quick brown fox jumps over the lazy dog and runs away from it".split()


def ways(analyzer: AttentionAnalyzer, inputs: dict[str, torch.Tensor]) -> dict[str, Callable[[], Any]]:
    model = analyzer.model

    def plain() -> torch.Tensor:
        with torch.no_grad():
            return model(**inputs)[0]

    def record() -> AttentionRecord:
        found = analyzer.record(inputs=inputs)
        assert isinstance(found, AttentionRecord)
        return found

    def captured() -> tuple[torch.Tensor, AttentionRecord]:
        with torch.no_grad(), capture(model, analyzer.tokenizer) as found:
            output = model(**inputs)[0]
        return output, found[0]

    def nothing() -> torch.Tensor:
        with torch.no_grad(), capture(model, layers=[]):
            return model(**inputs)[0]

    return {"plain": plain, "record": record, "capture": captured, "nothing": nothing}


def check(run: dict[str, Callable[[], Any]]) -> None:
    output, captured = run["capture"]()
    if not torch.equal(output, run["plain"]()) or not torch.equal(run["nothing"](), output):
        raise SystemExit("The outputs differ with and without capture; nothing is timed.")
    recorded = run["record"]()
    for site in recorded.sites:
        if not torch.equal(recorded.weights(site.layer), captured.weights(site.layer)):
            raise SystemExit(f"The weights of {site} differ between record and capture; nothing is timed.")


def timed(run: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for _ in range(repeats):
        for name, call in run.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capturing", description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    analyzer = AttentionAnalyzer(MODEL, cache=False)
    rows = ["| tokens | plain forward | record | capture | capture / record | nothing / plain |", "| ---: " * 6 + "|"]
    for tokens in (20, 120, 500):
        text = " ".join((WORDS * tokens)[: tokens - 2])
        run = ways(analyzer, dict(analyzer.tokenizer(text, return_tensors="pt")))
        check(run)
        for call in run.values():
            call()
        found = timed(run, options.repeats)
        times = " | ".join(f"{found[name] * 1000:.1f} ms" for name in ("plain", "record", "capture"))
        ratios = f"{found['capture'] / found['record']:.2f}× | {found['nothing'] / found['plain']:.2f}×"
        rows.append(f"| {tokens} | {times} | {ratios} |")
        print(rows[-1])
    threads = torch.get_num_threads()
    about = f"{MODEL}, {threads} thread{'s' * (threads > 1)}, median of {options.repeats} turns:"
    write_section("docs/own_model.md", "capture-bench", f"{about}\n\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
