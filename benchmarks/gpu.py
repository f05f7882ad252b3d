"""Statistics of all heads on a GPU beside the plain forward: ``python -m benchmarks.gpu`` where there is a CUDA device.

The attention shape is that of a Llama of 8 billion parameters (32 query heads in groups of 4, 128 channels each), with
random weights and as many layers as were asked for; cost per layer does not depend on their number.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Entropy
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from benchmarks import shapes, subjects
from benchmarks.report import GPU_LENGTHS

#: Larger differences than this between kernel and CPU are errors, not rounding; sums are float32.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama."""

    heads: int = 32
    key_heads: int = 8
    channels: int = 128
    inner: int = 14336
    layers: int = 2

    def model(self, positions: int, device: str, dtype: torch.dtype) -> LoadedModel:
        from transformers import AutoModel, LlamaConfig

        config = LlamaConfig(
            vocab_size=shapes.VOCABULARY,
            hidden_size=self.heads * self.channels,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            intermediate_size=self.inner,
            max_position_embeddings=positions,
            pad_token_id=3,
            attn_implementation="sdpa",
        )
        torch.manual_seed(0)
        return LoadedModel(AutoModel.from_config(config).to(device, dtype).eval(), shapes.tokenizer(), "llama")


def measure(lengths: tuple[int, ...], shape: Shape, device: str, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Seconds and peak memory by length; the kernel's results are compared with the CPU's first.

    Raises:
        SystemExit: they differ.
    """
    found: dict[str, Any] = {"shape": vars(shape), "dtype": str(dtype), "difference": difference(shape, device, dtype)}
    if not found["difference"] < TOLERANCE:
        raise SystemExit(f"Kernel and CPU differ by {found['difference']:.1e}, so nothing is timed.")
    cells = found["lengths"] = {}
    for tokens in lengths:
        loaded, text = shape.model(tokens, device, dtype), shapes.text(tokens)
        site = random_site(shape, tokens, device, dtype)
        subject: dict[str, Callable[[], object]] = {
            "plain": lambda loaded=loaded, text=text: subjects.plain(loaded, [text]),
            "toolkit": lambda loaded=loaded, text=text: subjects.toolkit(loaded, [text]),
            "attention_of_a_layer": lambda site=site: attention(site),
            "statistics_of_a_layer": lambda site=site: site.reduce(subjects.NEEDS, groups=groups(site)),
            "floor_of_a_layer": lambda site=site: site.reduce([Entropy()]),
        }
        cells[str(tokens)] = {name: timed(run, device) for name, run in subject.items()}
    return found


def random_site(shape: Shape, tokens: int, device: str, dtype: torch.dtype) -> QueryKeyWeights:
    """One layer's queries and keys, causal."""
    draw = torch.Generator(device).manual_seed(1)
    query, key = (
        torch.randn(1, heads, tokens, shape.channels, generator=draw, device=device, dtype=dtype)
        for heads in (shape.heads, shape.key_heads)
    )
    return QueryKeyWeights(ScoreSource(query, key, shape.channels**-0.5, Visibility(tokens, tokens, upper=0)))


def groups(site: QueryKeyWeights) -> dict[str, Tensor]:
    """The key groups that metrics ask for: every seventh, eleventh … key."""
    place = torch.arange(site.keys, device=site.source.device)[None]
    names = ("first", "special", "separator", "punctuation")
    return {name: place % step == 0 for name, step in zip(names, (site.keys, 7, 11, 13), strict=True)}


def attention(site: QueryKeyWeights) -> Tensor:
    """The layer's attention as the model runs it; values are as keys."""
    source = site.source
    return scaled_dot_product_attention(source.query, source.key, source.key, is_causal=True, enable_gqa=True)


def difference(shape: Shape, device: str, dtype: torch.dtype, tokens: int = 300) -> float:
    """Largest difference between the pass that is chosen on the device and the one on the CPU, in float32 sums."""
    site = random_site(shape, tokens, device, dtype)
    found = site.reduce(subjects.NEEDS, groups=groups(site))
    on_cpu = site.to("cpu")
    expected = on_cpu.reduce(subjects.NEEDS, groups=groups(on_cpu))
    pairs = ((found[need].cpu().double(), expected[need].cpu().double()) for need in subjects.NEEDS)
    return max(float(((a - b).abs() / b.abs().clamp(min=1)).nan_to_num().max()) for a, b in pairs)


def timed(run: Callable[[], object], device: str, repeats: int = 3) -> dict[str, float]:
    """Seconds of the fastest of some runs after one that warms up, and peak memory in GB."""
    on_gpu = device.startswith("cuda")
    run()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = float("inf")
    for _ in range(repeats):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - start)
    return {"seconds": seconds, "memory": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="*", default=GPU_LENGTHS)
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here, so nothing can be measured.")
    print(json.dumps(measure(tuple(options.lengths), Shape(layers=options.layers), "cuda"), indent=1))


if __name__ == "__main__":
    main()
