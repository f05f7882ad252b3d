"""What the analyses of heads cost: ``python -m benchmarks.analyses``; writes the table of docs/heads.md.

On the bundled decoder, over texts of about a hundred tokens each. The plain forward runs the same texts one by one, in
turns with the analyses; the fastest of several runs counts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import torch

from attention_analyzer import AttentionAnalyzer
from benchmarks.corpus import WORDS
from benchmarks.sections import write_section

MODEL, TEXTS, WORDS_EACH, REPEATS = "demo-decoder", 8, 90, 3

Run = Callable[[AttentionAnalyzer, list[str]], Any]
#: By the words of the table: what is run.
ANALYSES: dict[str, Run] = {
    "`record`, each text": lambda analyzer, texts: [analyzer.record(text) for text in texts],
    "`record.heads()`, each text": lambda analyzer, texts: [analyzer.record(text).heads() for text in texts],
    "`record.patterns()`, each text": lambda analyzer, texts: [analyzer.record(text).patterns() for text in texts],
    "`label_heads(texts)`, with probes": lambda analyzer, texts: analyzer.label_heads(texts),
    "`similarity(texts)`": lambda analyzer, texts: analyzer.similarity(texts),
    "`depth_profile(texts)`": lambda analyzer, texts: analyzer.depth_profile(texts),
    '`head_importance(texts, "gradient")`': lambda analyzer, texts: analyzer.head_importance(texts, "gradient"),
    '`head_importance(texts, "ablation")`': lambda analyzer, texts: analyzer.head_importance(texts, "ablation"),
    "`pruning_curve(texts)`": lambda analyzer, texts: analyzer.pruning_curve(texts),
    "`what_if` of one head, each text": lambda analyzer, texts: [
        analyzer.what_if(text, ablate="L4H2") for text in texts
    ],
}


def texts() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=WORDS_EACH)) + "." for _ in range(TEXTS)]


def plain(analyzer: AttentionAnalyzer, given: list[str]) -> None:
    with torch.no_grad():
        for text in given:
            analyzer.model(**analyzer.tokenizer(text, return_tensors="pt"))


def seconds(run: Run, analyzer: AttentionAnalyzer, given: list[str]) -> float:
    started = time.perf_counter()
    run(analyzer, given)
    return time.perf_counter() - started


def main() -> None:
    analyzer, given = AttentionAnalyzer(MODEL, cache=False), texts()
    tokens = sum(len(analyzer.tokenizer(text).input_ids) for text in given)
    runs = {"plain forward, each text": plain, **ANALYSES}
    fastest = {name: float("inf") for name in runs}
    for number in range(REPEATS + 1):
        for name, run in runs.items():
            found = seconds(run, analyzer, given)
            if number:  # the first round imports what the analyses need
                fastest[name] = min(fastest[name], found)
    base = fastest["plain forward, each text"]
    print(json.dumps({name: round(value, 4) for name, value in fastest.items()}, indent=1))
    lines = [
        f"{TEXTS} texts of {tokens // TEXTS} tokens on average, {MODEL} ({torch.get_num_threads()} threads, float32):",
        "",
        "| | seconds | times the plain forward |",
        "| --- | ---: | ---: |",
        *[f"| {name} | {value:.3f} | {value / base:,.1f} |" for name, value in fastest.items()],
    ]
    write_section("docs/heads.md", "analyses-bench", "\n".join(lines))


if __name__ == "__main__":
    main()
