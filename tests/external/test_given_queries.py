"""Queries and keys of other programs: the formula as written down, in every form, or one clear sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, AttentionRecord, Tokens
from attention_analyzer.errors import InputError
from attention_analyzer.weights.lazy import QueryKeyWeights
from tests.property_tests import cases

LAYERS, HEADS, KEY_HEADS, SIZE, CHANNELS = 3, 6, 2, 7, 5
TOKENS = list("abcdefg")
torch.manual_seed(0)
QUERIES, KEYS = torch.randn(LAYERS, HEADS, SIZE, CHANNELS), torch.randn(LAYERS, KEY_HEADS, SIZE, CHANNELS)
BIAS = torch.randn(HEADS, SIZE, SIZE)


def written_out(
    query: Tensor,
    key: Tensor,
    *,
    scaling: float | None = None,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Weights ``[head, query, key]``, one number after the other."""
    heads, queries, channels = query.shape
    keys = key.shape[1]
    shift = keys - queries
    result = torch.zeros(heads, queries, keys)
    for h in range(heads):
        for i in range(queries):
            scores: dict[int, float] = {}
            for j in range(keys):
                far = window is not None and abs(i + shift - j) >= window
                if (causal and j > i + shift) or far or (mask is not None and not mask[h % len(mask), i, j]):
                    continue
                score = float(query[h, i] @ key[h // (heads // key.shape[0]), j])
                score *= channels**-0.5 if scaling is None else scaling
                if softcap is not None:
                    score = softcap * math.tanh(score / softcap)
                if bias is not None:
                    score += float(bias[h % len(bias), i, j])
                scores[j] = score
            total = sum(math.exp(score) for score in scores.values())
            if sinks is not None:
                total += math.exp(float(sinks[h]))
            for j, score in scores.items():
                result[h, i, j] = math.exp(score) / total
    return result


def blind_diagonal() -> Tensor:
    mask = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(3)) > 0.5
    return mask | torch.eye(SIZE, dtype=torch.bool)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"scaling": 0.7, "causal": True},
        {"window": 3},
        {"window": 3, "causal": True},
        {"softcap": 0.9},
        {"sinks": torch.randn(HEADS)},
        {"bias": BIAS},
        {"bias": BIAS[:1], "causal": True, "window": 4},
        {"mask": blind_diagonal()},
        {"mask": blind_diagonal(), "causal": True},
        {
            "bias": BIAS,
            "mask": blind_diagonal(),
            "softcap": 2.0,
            "sinks": torch.zeros(HEADS),
            "scaling": 2,
            "window": 5,
        },
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_the_formula(options) -> None:
    record = AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, **options)
    assert record.exact
    for layer in range(LAYERS):
        expected = written_out(QUERIES[layer], KEYS[layer], **options)
        torch.testing.assert_close(record.weights(layer), expected, atol=1e-5, rtol=0)
    # The compiled pass over queries and keys agrees with the matrices.
    given_weights = AttentionRecord.from_weights(
        [record.weights(layer) for layer in range(LAYERS)], TOKENS, partial_rows=True, stack=record.stacks[0]
    )
    for column in ("entropy", "distance", "max_weight", "self_weight"):
        np.testing.assert_allclose(record.heads()[column], given_weights.heads()[column], atol=1e-4)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(list, id="a list of arrays"),
        pytest.param(lambda stack: stack.numpy(), id="one NumPy array"),
        pytest.param(lambda stack: stack[:, None], id="a batch of one"),
        pytest.param(lambda stack: [layer[None] for layer in stack], id="a list, each with a batch of one"),
        pytest.param(lambda stack: stack.tolist(), id="nested lists"),
    ],
)
def test_every_form_gives_the_same_record(form) -> None:
    record = AttentionRecord.from_queries_and_keys(form(QUERIES), form(KEYS), TOKENS, causal=True)
    for layer in range(LAYERS):
        expected = written_out(QUERIES[layer], KEYS[layer], causal=True)
        torch.testing.assert_close(record.weights(layer), expected, atol=1e-5, rtol=0)


def test_a_batch_is_chosen_from() -> None:
    queries, keys = (torch.stack([torch.zeros_like(part), part], 1) for part in (QUERIES, KEYS))
    record = AttentionRecord.from_queries_and_keys(queries, keys, TOKENS, batch=1)
    torch.testing.assert_close(record.weights(2), written_out(QUERIES[2], KEYS[2]), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"\(2, 6, 7, 5\), a batch of 2 texts"):
        AttentionRecord.from_queries_and_keys(queries, keys, TOKENS)


def test_settings_that_differ_between_layers() -> None:
    record = AttentionRecord.from_queries_and_keys(
        QUERIES,
        KEYS,
        TOKENS,
        causal=True,
        layers=[0, 4, 9],
        window=[None, 2, 3],
        scaling=(None, 0.5, np.float32(0.25)),
        softcap=[None, None, 3.0],
        sinks=[None, torch.ones(HEADS), None],
        bias=[BIAS, None, None],
    )
    options = [{"bias": BIAS}, {"window": 2, "scaling": 0.5, "sinks": torch.ones(HEADS)}]
    options.append({"window": 3, "scaling": 0.25, "softcap": 3.0})
    for at, (layer, option) in enumerate(zip((0, 4, 9), options, strict=True)):
        expected = written_out(QUERIES[at], KEYS[at], causal=True, **option)
        torch.testing.assert_close(record.weights(layer), expected, atol=1e-5, rtol=0)


def test_bias_and_sinks_as_nested_lists() -> None:
    sinks = torch.randn(LAYERS, HEADS)
    record = AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, bias=BIAS[0].tolist(), sinks=sinks.tolist())
    for layer in range(LAYERS):
        expected = written_out(QUERIES[layer], KEYS[layer], bias=BIAS[:1], sinks=sinks[layer])
        torch.testing.assert_close(record.weights(layer), expected, atol=1e-5, rtol=0)
    record = AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, sinks=[0.5] * HEADS)
    expected = written_out(QUERIES[1], KEYS[1], sinks=torch.full((HEADS,), 0.5))
    torch.testing.assert_close(record.weights(1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_kept_as_they_are(dtype: torch.dtype) -> None:
    queries, keys = QUERIES.to(dtype), KEYS.to(dtype)
    record = AttentionRecord.from_queries_and_keys(queries, keys, TOKENS)
    assert record.nbytes == queries.nbytes + keys.nbytes
    torch.testing.assert_close(
        record.weights(0).float(), written_out(queries[0].float(), keys[0].float()), atol=1e-5, rtol=0
    )


def test_what_was_given_is_copied() -> None:
    queries = QUERIES.clone()
    record = AttentionRecord.from_queries_and_keys(queries, KEYS, TOKENS)
    before = record.weights(0)
    queries.zero_()
    assert torch.equal(record.weights(0), before)


def test_memory_is_linear_in_the_text() -> None:
    size = 20_000
    query = torch.randn(1, size, 8).half()
    record = AttentionRecord.from_queries_and_keys([query], [query], [str(index) for index in range(size)], causal=True)
    assert record.nbytes == 2 * query.nbytes
    row = torch.softmax(query[0, :7].float() @ query[0, 6].float() / 8**0.5, -1)
    torch.testing.assert_close(record.weights(0, 0, queries=6, keys=slice(0, 7)), row, atol=1e-5, rtol=0)


def test_fewer_queries_are_the_last_tokens_of_a_causal_text() -> None:
    record = AttentionRecord.from_queries_and_keys(QUERIES[:, :, 4:], KEYS, TOKENS, causal=True, window=3)
    assert record.tokens.pieces == ("e", "f", "g")
    whole = written_out(QUERIES[1], KEYS[1], causal=True, window=3)
    torch.testing.assert_close(record.weights(1), whole[:, 4:], atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"7 tokens were given, but .*\(6, 3, 5\) and the keys \(2, 7, 5\)"):
        AttentionRecord.from_queries_and_keys(QUERIES[:, :, 4:], KEYS, TOKENS)


def test_cross_attention() -> None:
    record = AttentionRecord.from_queries_and_keys(QUERIES, KEYS[:, :, :3], TOKENS, key_tokens=Tokens.of_pieces("xyz"))
    assert record.sites[0].name == "decoder.cross.0"
    torch.testing.assert_close(record.weights(0), written_out(QUERIES[0], KEYS[0, :, :3]), atol=1e-5, rtol=0)
    for option in ({"causal": True}, {"window": 2}):
        with pytest.raises(InputError, match="for self-attention"):
            AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, key_tokens=TOKENS, **option)


def test_a_model_of_this_process_gives_the_same_from_its_queries_and_keys() -> None:
    record = AttentionAnalyzer("demo-decoder", cache=False).record("A cat and a dog.")
    sources = [entry.weights.source for entry in record.entries if isinstance(entry.weights, QueryKeyWeights)]
    assert len(sources) == len(record.entries)
    again = AttentionRecord.from_queries_and_keys(
        [source.query for source in sources],
        [source.key for source in sources],
        record.tokens,
        causal=True,
        scaling=[source.scaling for source in sources],
    )
    for layer in range(len(record)):
        torch.testing.assert_close(again.weights(layer), record.weights(layer), atol=1e-6, rtol=0)


@cases(40)
@given(st.data())
def test_bands_given_as_masks_cost_nothing(data: st.DataObject) -> None:
    """A mask or bias that says no more than causal and window is understood as such."""
    window = data.draw(st.integers(1, SIZE))
    offset = torch.arange(SIZE)[:, None] - torch.arange(SIZE)[None]
    mask = (offset >= 0) & (offset < window)
    as_bias = torch.zeros(SIZE, SIZE).masked_fill(~mask, data.draw(st.sampled_from([-math.inf, -1e9, -1e4])))
    one = AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, causal=True, window=window)
    for options in ({"mask": mask}, {"bias": as_bias}):
        two = AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, **options)
        assert two.entries[0].weights.visibility.is_band
        torch.testing.assert_close(two.weights(1), one.weights(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"queries": QUERIES[:2]}, "Queries of 2 layers were given, but keys of 3"),
        ({"queries": QUERIES[..., :4]}, r"\(6, 7, 4\) and the keys \(2, 7, 5\); their channels"),
        ({"queries": QUERIES[:, :5]}, "5 query heads and 2 key heads"),
        (
            {"queries": QUERIES[:, :, :6]},
            r"7 tokens were given, but the queries .*\(6, 6, 5\) and the keys \(2, 7, 5\)",
        ),
        ({"keys": KEYS[:, :, :6]}, r"7 tokens were given, but the queries .*\(6, 7, 5\) and the keys \(2, 6, 5\)"),
        ({"keys": KEYS[:, :0]}, r"\(0, 7, 5\)"),
        ({"queries": QUERIES.int()}, "queries of layer 0 are int32"),
        ({"queries": QUERIES * torch.nan}, r"queries of layer 0 hold nan at \[0, 0, 0\]"),
        ({"keys": KEYS / 0}, "keys of layer 0 hold"),
        ({"queries": None}, "queries are None"),
        ({"tokens": "abcdefg"}, "one string"),
        ({"scaling": math.nan}, "scaling of layer 0 is nan"),
        ({"scaling": "0.5"}, "scaling of layer 0 is '0.5'"),
        ({"scaling": [0.5, 0.5]}, "scaling lists 2 values, but there are 3 layers"),
        ({"softcap": 0}, "softcap of layer 0 is 0"),
        ({"softcap": -1.0}, r"softcap of layer 0 is -1\.0"),
        ({"window": 0}, "window of layer 0 is 0"),
        ({"window": 2.5}, r"window of layer 0 is 2\.5"),
        ({"causal": "yes"}, "causal='yes' must be True"),
        ({"sinks": torch.zeros(5)}, r"sinks of layer 0 have the shape \(5,\), but \[6\]"),
        ({"sinks": torch.zeros(2, 6)}, "sinks is given for 2 layers, but there are 3"),
        ({"bias": torch.zeros(7, 6)}, r"bias of layer 0 has the shape \(7, 6\), but \[7, 7\]"),
        ({"bias": torch.zeros(2, 7, 7)}, r"\(2, 7, 7\), but \[7, 7\] or \[6 or 1, 7, 7\]"),
        ({"bias": torch.full((7, 7), math.nan)}, "bias of layer 0 hold nan"),
        ({"bias": torch.full((7, 7), math.inf)}, "bias of layer 0 hold inf"),
        ({"bias": torch.ones(7, 7, dtype=torch.bool)}, "mask= takes booleans"),
        ({"mask": torch.zeros(7, 7)}, "mask of layer 0 must hold True"),
        ({"layers": [0, 1]}, "must name each of the 3 layers"),
    ],
)
def test_what_does_not_fit(change, says: str) -> None:
    arguments = {"queries": QUERIES, "keys": KEYS, "tokens": TOKENS} | change
    with pytest.raises(InputError, match=says):
        AttentionRecord.from_queries_and_keys(**arguments)
