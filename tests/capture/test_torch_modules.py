"""torch's own modules and blocks of one's own: padding that they are told of, dropout in training, what is said."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attention_analyzer as aa
from attention_analyzer.errors import CaptureError, InputError, ModelError, UnsupportedModelError
from tests.capture.small import model_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
]
PADDING = torch.tensor([[False] * 7, [False] * 5 + [True] * 2])


def _shapes(captured: Any) -> list[list[tuple[int, ...]]]:
    return [[entry.weights.shape[1:] for entry in record.entries] for record in captured.records]


@pytest.mark.parametrize("targets", [5, 7])
@pytest.mark.parametrize("batch_first", [True, False])
def test_padding_of_a_transformer_is_not_shown(batch_first: bool, targets: int) -> None:
    model = nn.Transformer(24, 6, 1, 1, 40, batch_first=batch_first).eval()
    source, target = torch.randn(2, 7, 24), torch.randn(2, targets, 24)
    if not batch_first:
        source, target = source.transpose(0, 1), target.transpose(0, 1)
    with torch.no_grad(), aa.capture(model) as captured:
        model(source, target, src_key_padding_mask=PADDING, memory_key_padding_mask=PADDING)
    # encoder, decoder, cross-attention
    whole = [(7, 7), (targets, targets), (targets, 7)]
    assert _shapes(captured) == [whole, [(5, 5), (targets, targets), (targets, 5)]]


@pytest.mark.parametrize("fast", [True, False])
def test_padding_of_an_encoder_is_not_shown(fast: bool) -> None:
    layer = nn.TransformerEncoderLayer(24, 6, 30, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=fast).eval()
    with torch.set_grad_enabled(not fast), aa.capture(model) as captured:
        model(torch.randn(2, 7, 24), src_key_padding_mask=PADDING)
    assert _shapes(captured) == [[(7, 7)], [(5, 5)]]


def test_queries_that_are_other_tokens_than_the_padded_keys_stay() -> None:
    model, states = nn.MultiheadAttention(24, 6, batch_first=True).eval(), torch.randn(2, 7, 24)
    with aa.capture(model) as captured:
        model(states.clone(), states, states, key_padding_mask=PADDING)
    assert _shapes(captured) == [[(7, 7)], [(7, 7)]]
    assert not captured.records[1].entries[0].weights.full()[..., 5:].any()


def test_a_decoder_that_is_not_told_of_padding_is_refused() -> None:
    model = nn.Transformer(24, 6, 1, 1, 40, batch_first=True).eval()
    with torch.no_grad(), aa.capture(model) as captured:
        model(torch.randn(2, 7, 24), torch.randn(2, 5, 24), src_key_padding_mask=PADDING)
    with pytest.raises(UnsupportedModelError, match="attend to its padding in decoder"):
        _ = captured.records


class _Block(nn.Module):
    def __init__(self, drop: Any) -> None:
        super().__init__()
        self.mix, self.drop, self.num_heads = nn.Linear(24, 72), drop, 6

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = self.mix(states).unflatten(-1, (18, 4)).transpose(1, 2).chunk(3, 1)
        self.plain = (query @ key.transpose(-1, -2) / 2).softmax(-1)
        return self.drop(self.plain) @ value


@pytest.mark.parametrize("weights", [True, False])
def test_in_training_the_weights_are_those_before_dropout(weights: bool) -> None:
    model, states = nn.MultiheadAttention(24, 6, dropout=0.5, batch_first=True).train(), torch.randn(2, 5, 24)
    with aa.capture(model) as captured:
        model(states, states, states, need_weights=weights)
    _, expected = deepcopy(model).eval()(states, states, states, average_attn_weights=False)
    for record, own in zip(captured.records, expected, strict=True):
        assert torch.allclose(record.entries[0].weights.full(), own, atol=1e-6)


def test_dropout_in_a_block_leaves_outputs_and_weights() -> None:
    model, states = _Block(nn.Dropout(0.5)).train(), torch.randn(2, 5, 24)
    torch.manual_seed(0)
    outside = model(states)
    torch.manual_seed(0)
    with aa.capture(model) as captured:
        inside = model(states)
    assert torch.equal(outside, inside)
    assert torch.equal(captured.records[1].entries[0].weights.full(), model.plain[1])


def test_weights_that_change_after_dropout_are_refused_in_training() -> None:
    model = _Block(lambda weights: F.dropout(weights, 0.5) * 0.5).train()
    with aa.capture(model) as captured:
        model(torch.randn(2, 5, 24))
    with pytest.raises(UnsupportedModelError, match=r"call model\.eval\(\) before"):
        _ = captured.records


class _Written(nn.Module):
    def forward(self, states: Tensor) -> Tensor:
        powers = (states @ states.transpose(1, 2)).exp()
        return powers / powers.sum(-1, keepdim=True) @ states


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(24, 24), nn.ReLU()), "ran without any attention"),
        (nn.Sequential(nn.Linear(24, 24), nn.Softmax(-1)), "computes a softmax in 1"),
        (_Written(), "takes exponentials of products"),
    ],
)
def test_no_attention_is_no_empty_list(model: nn.Module, said: str) -> None:
    with aa.capture(model) as captured:
        model(torch.randn(2, 5, 24))
    for ask in (captured.heads, lambda: captured.records):
        with pytest.raises(UnsupportedModelError, match=said):
            ask()


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        model = nn.MultiheadAttention(24, 6)
    with pytest.raises(ModelError, match="meta device"), aa.capture(model):
        pass


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"input_ids": torch.tensor([[-1, 5]])}, "numbers from 0"),
        ({"input_ids": torch.tensor([[5, 6]], device="meta")}, "meta device"),
        ({"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.zeros(1, 2, dtype=torch.long)}, "but padding"),
    ],
)
def test_inputs_that_hold_no_text(inputs: dict[str, Tensor], said: str) -> None:
    with pytest.raises(InputError, match=said):
        aa.AttentionAnalyzer(model_of("encoder")).record(inputs=inputs)


def test_a_fault_of_the_toolkit_is_not_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise IndexError("no such row")

    monkeypatch.setattr("attention_analyzer.hooks.session.read_call", fails)
    with pytest.raises(CaptureError, match="a fault of this toolkit"):
        aa.AttentionAnalyzer(model_of("encoder")).record(inputs={"input_ids": torch.tensor([[5, 6]])})


def test_attentions_of_a_generation_are_pointed_to_capture() -> None:
    steps = tuple(tuple(torch.rand(1, 2, 1, 3).softmax(-1) for _ in range(2)) for _ in range(3))
    with pytest.raises(InputError, match=r"3 tuples of 2 arrays each, as generate\(\) returns them"):
        aa.AttentionRecord.from_weights(steps, ["a", "b", "c"])
