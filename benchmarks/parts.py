"""What parts cost: ``python -m benchmarks.parts`` checks results, then writes the tables of docs/parts.md.

Attention between parts is checked against full matrices summed by part before anything is timed, removals against
forwards without the removed tokens, learned heads against full matrices. Times are of the processor
(``time.process_time``), one thread, alternating, the fastest of several, so that other programs on the machine disturb
them little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
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
from attention_analyzer.sources import sources
from attention_analyzer.sources.evidence import attention_to_parts
from attention_analyzer.sources.head_weights import HeadWeights
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.text.parts import Part
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import DistanceSums, Reduction, RunSums
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from benchmarks.sections import ROOT, write_section

PARTS, HEADS, CHANNELS, REPEATS = 50, 12, 64, 5
LENGTHS = (512, 2048, 8192)
EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
PROMPT_TOKENS, REMOVALS = 2000, 64
#: A text that is measured inside the forward, with two layers of two heads, and a shorter one that is checked.
TRACE_TOKENS, TRACE_PARTS, CHECKED_TOKENS = 131_072, 200, 2048
#: Largest difference from full matrices that is rounding.
TOLERANCE = 1e-4


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


def reader(positions: int, *, layers: int, width: int, heads: int) -> tuple[AttentionAnalyzer, list[str]]:
    """A Llama with random weights whose every word is a token, and its words."""
    words = [f"w{number}" for number in range(500)]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["<unk>", *words])}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<unk>")
    config = LlamaConfig(
        vocab_size=501, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=positions,
    )  # fmt: skip
    torch.manual_seed(0)
    return AttentionAnalyzer(LlamaForCausalLM(config), tokenizer, cache=False), words


def text_of(words: list[str], tokens: int, count: int) -> tuple[str, list[Part]]:
    """A text of random words, cut into parts of equal length in characters."""
    text = " ".join(words[number] for number in np.random.default_rng(0).integers(0, len(words), tokens))
    size = len(text) // count
    return text, [Part(f"part {n}", n * size, (n + 1) * size) for n in range(count)]


def source_rows() -> list[str]:
    """Times of removals with and without the shared beginning, and of learned heads, in forwards."""
    analyzer, words = reader(4096, layers=1, width=1024, heads=16)
    text, parts = text_of(words, PROMPT_TOKENS, REMOVALS)
    prompt = read_prompt(analyzer.loaded, text, answer="w1 w2 w3", parts=parts)
    cached, plain = Scorer(analyzer.loaded, prompt), Scorer(analyzer.loaded, prompt, use_cache=False)
    if not cached.has_cache:
        raise SystemExit("The cache of the model was not used.")
    rows = []
    one = fastest({"forward": lambda: plain.removed([REMOVALS - 1])})["forward"]
    found: dict[str, list[float]] = {}
    for name, scorer in ((f"{REMOVALS} removals, each from the start", plain), ("… with the shared beginning", cached)):
        started = time.process_time()
        found[name] = all_removed(scorer, prompt)
        rows.append(f"| {name} | {(time.process_time() - started) / one:.1f} |")
    np.testing.assert_allclose(*found.values(), atol=2e-3)
    heads = check_heads(analyzer, prompt)
    folder = ROOT / "build" / "benchmarks"
    heads.save(folder)
    answered = partial(
        sources,
        analyzer.loaded,
        text,
        answer="w1 w2 w3",
        parts=parts,
        methods=["learned_heads"],
        removals=0,
        cache=folder,
    )
    times = fastest({"forward": lambda: plain.removed([REMOVALS - 1]), "learned": answered})
    rows.append(f"| `learned_heads`, from text to table | {times['learned'] / times['forward']:.2f} |")
    return rows


def check_heads(analyzer: AttentionAnalyzer, prompt: Prompt) -> HeadWeights:
    """Attention to parts against full matrices; weights for all heads alike.

    Raises:
        SystemExit: they differ.
    """
    found = attention_to_parts(analyzer.loaded, prompt)
    ids = torch.tensor([[*prompt.tokens.ids, *prompt.answer_ids]])[:, :-1]
    eager = LlamaForCausalLM(analyzer.model.config)
    eager.load_state_dict(analyzer.model.state_dict())
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        full = torch.stack(eager(ids, output_attentions=True).attentions)[:, 0].double()
    rows = full[:, :, -len(prompt.answer_ids) :, 1:]  # the first token is left out
    rows = (rows / rows.sum(-1, keepdim=True)).numpy()
    visible = np.arange(full.shape[-1] - len(prompt.answer_ids), full.shape[-1])  # without the first
    for (layer, head, queries), values in zip(found.heads, found.above_chance, strict=True):
        for number in range(len(prompt.candidates) if queries == "answer" else 0):
            keys = [key - 1 for key in prompt.run_of(number) if key]
            expected = float((rows[layer, head][:, keys].sum(-1) - len(keys) / visible).mean())
            if abs(expected - values[number]) > TOLERANCE:
                raise SystemExit(f"Attention to part {number} is {values[number]}, but {expected} by full matrices.")
    weights = (1.0,) * len(found.heads)
    return HeadWeights(tuple(found.heads), weights, analyzer.loaded.fingerprint, 8, 0.0)


def trace() -> dict[str, float]:
    """Attention between parts inside the forward: seconds, and the most memory the process held, in GB.

    Raises:
        SystemExit: a shorter text differs from full matrices summed by part.
    """
    from benchmarks.worker import peak

    analyzer, words = reader(TRACE_TOKENS, layers=2, width=64, heads=2)
    text, parts = text_of(words, CHECKED_TOKENS, TRACE_PARTS)
    found = analyzer.between(text, parts)
    record = analyzer.record(text)
    members = np.eye(len(found.queries))[list(found.queries.owners)]
    for number, (site, head) in enumerate(found.heads):
        full = record.weights(site.layer, head).double().numpy()
        expected = members.T @ full @ members / members.sum(0)[:, None]
        if np.abs(expected - found.weights[number]).max() > TOLERANCE:
            raise SystemExit(f"{site.name} head {head} differs from its full matrix summed by part.")
    del record, full
    text, parts = text_of(words, TRACE_TOKENS, TRACE_PARTS)
    started = time.process_time()
    analyzer.between(text, parts)
    return {"seconds": time.process_time() - started, "memory": peak()}


def trace_row() -> str:
    """The long text, in a process of its own."""
    command = [sys.executable, "-c", "import json; from benchmarks import parts; print(json.dumps(parts.trace()))"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The long text failed:\n{done.stderr[-2000:]}")
    cell = json.loads(done.stdout.strip().splitlines()[-1])
    return f"| {TRACE_TOKENS:,} tokens, {TRACE_PARTS} parts | {cell['seconds']:.0f} s | {cell['memory']:.2f} GB |"


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="print the tables instead of writing them")
    parser.add_argument("--no-trace", action="store_true", help="leave out the long text, which takes minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prompt = f"a prompt of {PROMPT_TOKENS:,} tokens (one layer of width 1,024 with 16 heads)"
    tables = [
        [
            f"| tokens | metrics | + {PARTS} parts | + without sinks, by distance |",
            "|---:|---:|---:|---:|",
            *between_rows(),
        ],
        [f"| {prompt} | forwards' time |", "|---|---:|", *source_rows()],
    ]
    if not options.no_trace:
        header = "| inside the forward (2 layers of 2 heads) | time | peak memory |"
        tables.append([header, "|---|---:|---:|", trace_row()])
    written = "\n\n".join("\n".join(table) for table in tables)
    if options.dry or options.no_trace:
        print(written)
    else:
        write_section("docs/parts.md", "parts-cost", written)


if __name__ == "__main__":
    main()
