"""One attention computed in several calls: heads, slices of queries or texts in a loop are one attention layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attention_analyzer as aa

HEADS, WIDTH, TOKENS = 6, 24, 11
SIZE = WIDTH // HEADS
Split = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]


def _by_softmax(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) / SIZE**0.5
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value


def _fused(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


def _whole(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    return attend(query, key, value, seen)


def _query_slices(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    steps = range(0, TOKENS, 4)
    return torch.cat([attend(query[:, :, at : at + 4], key, value, seen[at : at + 4]) for at in steps], 2)


def _heads(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    each = (slice(head, head + 1) for head in range(HEADS))
    return torch.cat([attend(query[:, at], key[:, at], value[:, at], seen) for at in each], 1)


def _pairs_of_heads(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    each = (slice(head, head + 2) for head in range(0, HEADS, 2))
    return torch.cat([attend(query[:, at], key[:, at], value[:, at], seen) for at in each], 1)


def _heads_without_an_axis(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    each = [_by_softmax(query[:, head], key[:, head], value[:, head], seen) for head in range(HEADS)]
    return torch.stack(each, 1)


def _slices_of_texts_and_heads(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    flat = [each.reshape(-1, TOKENS, SIZE) for each in (query, key, value)]
    cut = ([each[at : at + 4] for each in flat] for at in range(0, len(flat[0]), 4))
    return torch.cat([_by_softmax(*each, seen) for each in cut]).view(query.shape)


def _text_by_text(attend: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    each = (slice(text, text + 1) for text in range(len(query)))
    return torch.cat([attend(query[at], key[at], value[at], seen) for at in each])


class _Block(nn.Module):
    def __init__(self, split: Any, attend: Any, *, declared: bool) -> None:
        super().__init__()
        self.mix, self.out, self.split, self.attend = (
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
            split,
            attend,
        )
        if declared:
            self.num_heads = HEADS

    def forward(self, states: Tensor) -> Tensor:
        seen = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
        sides = (side.unflatten(-1, (HEADS, SIZE)).transpose(1, 2) for side in self.mix(states).chunk(3, -1))
        return states + self.out(self.split(self.attend, *sides, seen).transpose(1, 2).flatten(2))


def _model(split: Any, attend: Any, *, declared: bool) -> nn.Module:
    torch.manual_seed(3)
    blocks = [_Block(split, attend, declared=declared) for _ in range(2)]
    return nn.Sequential(nn.Embedding(61, WIDTH), *blocks).eval()


IDS = torch.randint(0, 61, (3, TOKENS), generator=torch.Generator().manual_seed(5))
#: Which can be told apart without the number of heads.
SPLITS = {
    _query_slices: True, _heads: True, _pairs_of_heads: False, _heads_without_an_axis: True,
    _slices_of_texts_and_heads: False, _text_by_text: True,
}  # fmt: skip


@pytest.mark.parametrize("texts", [1, 3])
@pytest.mark.parametrize("attend", [_by_softmax, _fused])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_parts_are_the_whole(split: Any, declared: bool, attend: Any, texts: int) -> None:
    if not declared and not SPLITS[split]:
        return
    with aa.capture(_model(_whole, attend, declared=True)) as whole:
        expected = whole.loaded.model(IDS[:texts])
    with aa.capture(_model(split, attend, declared=declared)) as parts:
        found = parts.loaded.model(IDS[:texts])
    assert torch.allclose(found, expected, atol=1e-6)
    assert len(parts.records) == len(whole.records) == texts
    for mine, theirs in zip(parts.records, whole.records, strict=True):
        assert [entry.site.name for entry in mine.entries] == ["decoder.self.1", "decoder.self.2"]
        for entry, other in zip(mine.entries, theirs.entries, strict=True):
            assert entry.weights.shape == (HEADS, TOKENS, TOKENS)
            every = slice(0, HEADS), slice(0, TOKENS)
            assert torch.allclose(entry.weights.tile(0, *every), other.weights.tile(0, *every), atol=1e-6)


class _OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, 3 * SIZE)

    def forward(self, states: Tensor) -> Tensor:
        return _by_softmax(*self.mix(states).chunk(3, -1), torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril())


class _ListOfHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([_OneHead() for _ in range(HEADS)])

    def forward(self, states: Tensor) -> Tensor:
        return states + torch.cat([head(states) for head in self.heads], -1)


@pytest.mark.parametrize("texts", [1, 3])
def test_a_list_of_heads_is_one_layer(texts: int) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Embedding(61, WIDTH), _ListOfHeads(), _ListOfHeads()).eval()
    with aa.capture(model) as captured:
        model(IDS[:texts])
    states = model[0](IDS)
    for record in captured.records:
        assert [(e.site.name, e.site.module) for e in record.entries] == [
            ("decoder.self.1", "1.heads"),
            ("decoder.self.2", "2.heads"),
        ]
    for head in range(HEADS):
        query, key, _ = model[1].heads[head].mix(states[texts - 1]).chunk(3, -1)
        scores = (query @ key.T / SIZE**0.5).masked_fill(torch.ones(TOKENS, TOKENS).triu(1).bool(), -torch.inf)
        weights = captured.records[-1].entries[0].weights.tile(0, slice(head, head + 1), slice(0, TOKENS))[0]
        assert torch.allclose(weights, scores.softmax(-1), atol=1e-6)


class _Repeated(nn.Module):
    """Latents that read the same inputs several times: layers, although keys and module are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query, self.key = nn.Embedding(61, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.latents, self.num_heads = nn.Parameter(torch.randn(5, WIDTH)), HEADS

    def forward(self, ids: Tensor) -> Tensor:
        states, key = self.latents.expand(len(ids), -1, -1), self.key(self.embed(ids))
        key = key.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
        for _ in range(3):
            query = self.query(states).unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
            states = states + F.scaled_dot_product_attention(query, key, key).transpose(1, 2).flatten(2)
        return states


def test_a_module_that_attends_again_to_what_it_has_read_has_layers() -> None:
    with aa.capture(_Repeated().eval()) as captured:
        captured.loaded.model(IDS)
    assert [entry.site.layer for entry in captured.records[0].entries] == [0, 1, 2]


def test_metrics_of_parts_are_kept_without_queries_and_keys() -> None:
    with aa.capture(_model(_query_slices, _by_softmax, declared=True)) as whole:
        whole.loaded.model(IDS)
    with aa.capture(whole.loaded.model, keep=None) as parts:
        parts.loaded.model(IDS)
    assert parts.heads().equals(whole.heads())
