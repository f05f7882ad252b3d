"""What parts cost: ``python -m benchmarks.parts`` checks the results and then prints processor seconds.

Attention between parts is checked against full matrices summed by part before anything is timed, removals against
forwards without the removed tokens. Times are of the processor (``time.process_time``), one thread, alternating, the
fastest of several, so that other programs on the machine disturb them little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import needs_of
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.text.parts import Part
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import DistanceSums, Reduction, RunSums
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

PARTS, HEADS, CHANNELS, REPEATS = 50, 12, 64, 5
LENGTHS = (512, 2048, 8192)
EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
PROMPT_TOKENS, REMOVALS = 2000, 64


def site(tokens: int) -> QueryKeyWeights:
    """A causal site with random queries and keys."""
    numbers = torch.Generator().manual_seed(0)
    parts = (torch.randn(1, HEADS, tokens, CHANNELS, generator=numbers) for _ in range(2))
    return QueryKeyWeights(ScoreSource(*parts, scaling=CHANNELS**-0.5, visibility=Visibility(tokens, tokens, upper=0)))


def between_rows() -> list[str]:
    """Times of the metrics' pass alone, and with parts."""
    rows = []
    for tokens in LENGTHS:
        weights = site(tokens)
        labels = (torch.arange(tokens) * PARTS // tokens)[None]
        groups = {name: torch.rand(1, tokens) < 0.05 for name in ("first", "special", "separator", "punctuation")}
        if tokens == LENGTHS[0]:
            check(weights, labels)
        wanted: dict[str, list[Reduction]] = {
            "metrics": list(needs_of(METRICS)),
            "+ parts": [*needs_of(METRICS), RunSums("p")],
            "+ without sinks, by distance": [
                *needs_of(METRICS),
                *(RunSums("p"), RunSums("p", "special"), DistanceSums(EDGES, "p"), DistanceSums(EDGES, "p", "special")),
            ],
        }

        frame: dict[str, Any] = {"groups": groups, "labels": {"p": (labels, labels)}}
        times = fastest({name: partial(weights.reduce, needs, **frame) for name, needs in wanted.items()})
        shown = [f"{times[name] / times['metrics']:.2f}×" for name in list(wanted)[1:]]
        rows.append(f"| {tokens:,} | {times['metrics'] * 1000:.0f} ms | {' | '.join(shown)} |")
    return rows


def check(weights: QueryKeyWeights, labels: torch.Tensor) -> None:
    """The sums of full matrices by part."""
    found = weights.reduce([RunSums("p")], labels={"p": (labels, labels)})[RunSums("p")][0].numpy()
    full = weights.full().double().numpy()
    members = np.eye(PARTS)[labels[0].numpy()]
    expected = np.einsum("hqk,qa,kb->hab", full, members, members).reshape(HEADS, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def removal_rows() -> list[str]:
    """Times of removals with and without the shared beginning, in forwards."""
    words = [f"w{number}" for number in range(500)]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["<unk>", *words])}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<unk>")
    config = LlamaConfig(
        vocab_size=501, hidden_size=256, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4,
        max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    analyzer = AttentionAnalyzer(LlamaForCausalLM(config), tokenizer, cache=False)
    text = " ".join(words[number % 500] for number in np.random.default_rng(0).integers(0, 500, PROMPT_TOKENS))
    size = len(text) // REMOVALS
    parts = [Part(f"part {n}", n * size, (n + 1) * size) for n in range(REMOVALS)]
    prompt = read_prompt(analyzer.loaded, text, answer="w1 w2 w3", parts=parts)
    cached, plain = Scorer(analyzer.loaded, prompt), Scorer(analyzer.loaded, prompt, use_cache=False)
    if not cached.has_cache:
        raise SystemExit("The cache of the model was not used.")
    one = fastest({"forward": lambda: plain.removed([REMOVALS - 1])})["forward"]
    seconds: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    for name, scorer in (("from the start", plain), ("shared beginning", cached)):
        started = time.process_time()
        found[name] = all_removed(scorer, prompt)
        seconds[name] = time.process_time() - started
    np.testing.assert_allclose(found["shared beginning"], found["from the start"], atol=2e-3)
    return [f"| {name} | {spent / one:.1f} forwards |" for name, spent in seconds.items()]


def all_removed(scorer: Scorer, prompt: Prompt) -> list[float]:
    return [scorer.removed([number]) for number in range(len(prompt.candidates))]


def fastest(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(REPEATS):
        for name, run in runs.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    return best


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(f"| tokens | metrics | + {PARTS} parts | + without sinks, by distance |\n|---:|---:|---:|---:|")
    print("\n".join(between_rows()))
    print(f"\n| {REMOVALS} removals from {PROMPT_TOKENS:,} tokens | time |\n|---|---:|")
    print("\n".join(removal_rows()))


if __name__ == "__main__":
    main()
