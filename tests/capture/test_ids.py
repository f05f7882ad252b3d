"""Analyses that need no words take ids; random ones are drawn from the vocabulary of a model without a tokenizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attention_analyzer.errors import InputError, TooLongError
from attention_analyzer.given_inputs import single_texts
from attention_analyzer.inputs import prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.labels import label_heads
from attention_analyzer.recording import record_inputs, record_texts
from tests.capture.small import ids, model_of, padded

TOKENS, PLACES = 24, 96
TOKEN, PLACE, BEFORE = slice(0, TOKENS), slice(TOKENS, TOKENS + PLACES), slice(TOKENS + PLACES, 2 * TOKENS + PLACES)
WIDTH = BEFORE.stop


class Layer(nn.Module):
    """Causal attention of one head by hand: scores ``[channel, channel]``, values written as they are read."""

    def __init__(self, scores: Tensor, writes: Tensor) -> None:
        super().__init__()
        self.scores, self.writes = nn.Parameter(scores), nn.Parameter(writes)

    def forward(self, states: Tensor) -> Tensor:
        score = (states @ self.scores)[:, None] @ states[:, None].transpose(-1, -2)
        hidden = torch.ones(score.shape[-2:], dtype=torch.bool).triu(1)
        weights = torch.softmax(score.masked_fill(hidden, float("-inf")), dim=-1)
        return states + (weights @ (states @ self.writes)[:, None])[:, 0]


class Planted(nn.Module):
    """A previous-token layer and an induction layer: home-made, without configuration, tokenizer or mask."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(TOKENS, WIDTH), nn.Embedding(PLACES, WIDTH)
        previous, induction, to_before = (torch.zeros(WIDTH, WIDTH) for _ in range(3))
        for place in range(1, PLACES):
            previous[PLACE.start + place, PLACE.start + place - 1] = 50.0
        for token in range(TOKENS):
            induction[token, BEFORE.start + token] = 50.0
            to_before[token, BEFORE.start + token] = 1.0
        self.layers = nn.ModuleList([Layer(previous, to_before), Layer(induction, torch.zeros(WIDTH, WIDTH))])
        with torch.no_grad():
            self.token.weight.zero_()[:, TOKEN] = torch.eye(TOKENS)
            self.position.weight.zero_()[:, PLACE] = torch.eye(PLACES)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            states = layer(states)
        return states


def test_induction_is_found_in_a_model_without_a_tokenizer() -> None:
    rows = single_texts([torch.randint(0, TOKENS, (30,), generator=torch.Generator().manual_seed(n)) for n in range(6)])
    labels = label_heads(LoadedModel(Planted(), name="planted"), rows)
    assert labels.of("previous_token") == [(0, 0)]
    assert labels.of("induction") == [(1, 0)]
    measured = labels.table.query("pattern == 'induction' and layer == 1")
    assert measured["measured_on"].tolist() == ["repeated random tokens"]
    assert measured["strength"].item() > 0.9


def test_a_batch_is_cut_into_texts_without_padding() -> None:
    rows = ids(6, 4)
    for side in ("left", "right"):
        cut = single_texts(padded(rows, side))
        assert [row["input_ids"][0].tolist() for row in cut] == [row.tolist() for row in rows]
    assert [row["input_ids"].shape for row in single_texts([[5, 6, 7], [8, 9]])] == [(1, 3), (1, 2)]


def test_ids_that_were_given_are_measured_like_a_batch_of_texts() -> None:
    loaded, rows = LoadedModel(model_of("encoder")), ids(6, 9, 4)
    for record, row in zip(record_texts(loaded, single_texts(list(rows))), rows, strict=True):
        (alone,) = record_inputs(loaded, {"input_ids": row[None]})
        assert record.tokens.ids == tuple(row.tolist())
        torch.testing.assert_close(record.weights(1), alone.weights(1), atol=1e-5, rtol=1e-4)


def test_what_cannot_be_read_as_ids_is_refused() -> None:
    loaded = LoadedModel(model_of("decoder"), name="small")
    with pytest.raises(TooLongError, match="positions for 64"):
        prepare(loaded, single_texts([list(range(5, 25)) * 4]))
    with pytest.raises(InputError, match="either texts or inputs"):
        prepare(loaded, ["a text", *single_texts([[5, 6]])])
    with pytest.raises(InputError, match="no attention_mask"):
        prepare(LoadedModel(Planted(), name="planted"), single_texts([[5, 6], [7]]))
    with pytest.raises(InputError, match="decoder_input_ids"):
        prepare(LoadedModel(model_of("translator")), single_texts([[5, 6]]))
    for nonsense in (7, "text", [], {}, {"pixel_values": torch.rand(1, 3, 4, 4)}):
        with pytest.raises(InputError):
            single_texts(nonsense)
