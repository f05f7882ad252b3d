"""The induction circuit of the bundled decoder, its figures against slow ones, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.results import Circuit


def pairs(count: int, length: int = 10) -> list[Any]:
    """``a b … c d … a`` against ``c b … a d … a``: b is right after the first, d after the second."""
    generator = np.random.default_rng(1)

    def pair() -> Any:
        tokens = generator.choice(np.arange(2, 6144), length + 3, replace=False)
        block, filler = tokens[:length], tokens[length:]
        swapped = block.copy()
        swapped[[2, 6]] = block[[6, 2]]
        one, two = ({"input_ids": torch.tensor([[0, *each, *filler, block[2]]])} for each in (block, swapped))
        return one, two, int(block[3]), int(block[7])

    return [pair() for _ in range(count)]


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def found(decoder: AttentionAnalyzer) -> Circuit:
    return decoder.circuit(pairs(16), controls=6)


def test_the_induction_circuit_is_found(found: Circuit) -> None:
    names = set(found.heads["component"])
    assert {"L4H2", "L4H3"} & names  # the induction heads, as labels call them
    assert min(found.heads["layer"]) in (0, 1, 2)  # what they read comes from before
    assert found.found_faithfulness >= 0.8
    assert found.faithfulness > 0.6
    assert found.interval[0] <= found.faithfulness <= found.interval[1]
    assert found.share <= 0.25
    assert max(found.random) < 0.3
    assert abs(found.rest) < 0.2
    strongest = found.edges.sort_values("lost").iloc[-1]
    assert (strongest["input"], strongest["receiver"][:2]) == ("key", "L4")


def test_faithfulness_is_what_plain_hooks_give(decoder: AttentionAnalyzer, found: Circuit) -> None:
    model: Any = decoder.model
    width = model.config.head_dim
    kept = {(int(row.layer), int(row.head)) for row in found.heads.itertuples()}

    def metric(one: Any, two: Any, heads: set[tuple[int, int]], target: int, versus: int) -> float:
        corrupted: dict[int, Tensor] = {}
        handles = []

        def keep(layer: int) -> Any:
            return lambda _, given: corrupted.__setitem__(layer, given[0].clone())

        def mix(layer: int) -> Any:
            def hook(_: Any, given: Any) -> Any:
                mixed = given[0].clone()
                for head in range(model.config.num_attention_heads):
                    if (layer, head) not in heads:
                        part = slice(head * width, (head + 1) * width)
                        mixed[..., part] = corrupted[layer][..., part]
                return (mixed,)

            return hook

        with torch.no_grad():
            for inputs, make in ((two, keep), (one, mix)):
                handles = [
                    block.self_attn.o_proj.register_forward_pre_hook(make(layer))
                    for layer, block in enumerate(model.model.layers)
                ]
                logits = model(**inputs).logits[0, -1]
                for handle in handles:
                    handle.remove()
        return float(logits[target] - logits[versus])

    every = {(layer, head) for layer in range(5) for head in range(6)}
    held_out = pairs(16)[1::2]
    mine, full, empty = (
        np.mean([metric(one, two, heads, target, versus) for one, two, target, versus in held_out])
        for heads in (kept, every, set())
    )
    assert found.clean == pytest.approx(full, abs=1e-3)
    assert found.without == pytest.approx(empty, abs=1e-3)
    assert found.faithfulness == pytest.approx((mine - empty) / (full - empty), abs=1e-3)


def test_the_command_reads_pairs(tmp_path: Path, attn: Any) -> None:
    line = "Tom saw a red dog. Tom saw a red\tTom saw a big dog. Tom saw a red"
    (tmp_path / "pairs.tsv").write_text("\n".join([line] * 6))
    options = ("-m", "demo-decoder", "--faithfulness", 0.3, "--controls", 1)
    code, out, _ = attn("circuit", tmp_path / "pairs.tsv", *options)
    assert code == 0
    assert "faithfulness" in out
    (tmp_path / "pairs.tsv").write_text("one text alone")
    code, _, error = attn("circuit", tmp_path / "pairs.tsv", *options)
    assert code == 2
    assert "Line 1 is not a pair" in error


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (4, {}, "at least 6 pairs, half of them held out, not 4"),
        (6, {"faithfulness": 0}, "above 0 and at most 1"),
        (6, {"metric": lambda logits: logits.sum() * 0}, "same with all heads and with none"),
    ],
)
def test_bad_input_is_one_sentence(
    decoder: AttentionAnalyzer, count: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message):
        decoder.circuit(pairs(count), **options)


def test_a_pair_of_different_lengths_is_named(decoder: AttentionAnalyzer) -> None:
    given = [("The cat sat.", "The dog sat.")] * 5 + [("The cat sat.", "The cat sat down.")]
    with pytest.raises(
        errors.InputError, match=r"Pair 5, counted from 0 .*: The clean text has 5 tokens and the corrupted one 6"
    ):
        decoder.circuit(given)
