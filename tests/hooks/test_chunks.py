"""Several calls of one module, put together as one in which they do not mix."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attention_analyzer.hooks.calls import chunk_of, merge_chunks, score_source, verify
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

BATCH, HEADS, CHANNELS = 2, 5, 4


def chunk(queries: int, keys: int, seed: int, batch: int = BATCH, **seen: Tensor | int) -> ScoreSource:
    numbers = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(batch, HEADS, size, CHANNELS, generator=numbers) for size in (queries, keys))
    return ScoreSource(query, key, 0.7, Visibility(queries, keys, **seen))


def full(source: ScoreSource, text: int) -> Tensor:
    weights = QueryKeyWeights(source)
    return weights.tile(text, slice(0, weights.heads), slice(0, weights.queries))


def in_two(queries: int, keys: int) -> tuple[Tensor, Tensor]:
    first, second = ((torch.arange(size) % 2).expand(BATCH, -1) for size in (queries, keys))
    return first, second


@pytest.mark.parametrize("segments", [None, in_two(7, 11)])
def test_chunks_lie_on_the_diagonal(segments: tuple[Tensor, Tensor] | None) -> None:
    parts = [chunk(7, 11, 3), chunk(3, 13, 5)]
    parts[0] = replace(parts[0], visibility=replace(parts[0].visibility, segments=segments))
    merged = merge_chunks(parts)
    for text in range(BATCH):
        expected = torch.zeros(HEADS, 10, 24)
        expected[:, :7, :11], expected[:, 7:, 11:] = full(parts[0], text), full(parts[1], text)
        torch.testing.assert_close(full(merged, text), expected)


def test_one_sink_a_query_goes_with_its_query() -> None:
    numbers = torch.Generator().manual_seed(7)
    parts = [
        replace(part, sinks=torch.randn(BATCH, HEADS, part.queries, generator=numbers))
        for part in (chunk(7, 11, 3), chunk(3, 13, 5))
    ]
    torch.testing.assert_close(full(merge_chunks(parts), 1)[:, 7:, 11:], full(parts[1], 1))


@pytest.mark.parametrize(
    "other",
    [
        chunk(7, 11, 5, upper=0),
        chunk(7, 11, 5, key_seen=torch.ones(BATCH, 11, dtype=torch.bool)),
        chunk(7, 11, 5, batch=3),
        replace(chunk(7, 11, 5), scaling=0.6),
    ],
)
def test_calls_that_differ_in_more_than_tokens_are_no_chunks_of_each_other(other: ScoreSource) -> None:
    assert chunk_of(chunk(3, 13, 5)) == chunk_of(chunk(7, 11, 3)) is not None
    assert chunk_of(other) != chunk_of(chunk(7, 11, 3))


def test_padding_of_a_text_says_nothing_of_crops_of_the_same_length() -> None:
    """A tower of crops may have as many places as the text has tokens, for more rows than there are texts."""
    numbers = torch.Generator().manual_seed(3)
    query, key = (torch.randn(6, HEADS, 7, CHANNELS, generator=numbers) for _ in range(2))
    call = AttentionCall(nn.Module(), "vision", "sdpa", query, key, key, None, {"is_causal": False})
    output = nn.functional.scaled_dot_product_attention(query, key, key).transpose(1, 2)
    valid = torch.ones(BATCH, 7, dtype=torch.bool)
    assert verify(call, score_source(call, MaskReader()), output, valid) < 1e-5
