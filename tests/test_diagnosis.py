"""For any object: what it was taken out of, how its attention is captured, and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.models.loading import load


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.transpose(-1, -2)).softmax(-1) @ scaled_dot_product_attention(*[x[:, None]] * 3)[:, 0]


def test_the_way_in_is_named_with_its_reason() -> None:
    states = torch.randn(1, 5, 8)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    cases: list[tuple[Any, dict[str, Any], dict[str, int]]] = [
        (load("demo-encoder").model, {"input_ids": torch.tensor([[2, 7, 9, 3]])}, {"interface hook": 2}),
        (layer, {"src": states}, {"dispatch hook, fused layer": 1}),
        (Own(), {"x": states}, {"dispatch hook, fused attention": 1, "dispatch hook, softmax": 1}),
    ]
    for model, inputs, doors in cases:
        found = AttentionAnalyzer(model, cache=False).diagnose(inputs=inputs)
        assert found.holds
        assert set(found.verification.doors) == set(doors)
        for door in doors:
            assert f"{door}: " in str(found)
        assert "text side: none" in str(found)
    assert "computed once more" in str(AttentionAnalyzer(layer, cache=False).diagnose(inputs={"src": states}))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_wrappers_and_quantized_layers_are_named() -> None:
    whole = load("demo-decoder")
    small = torch.ao.quantization.quantize_dynamic(whole.model, {nn.Linear}, dtype=torch.qint8)
    found = AttentionAnalyzer(nn.DataParallel(small), whole.tokenizer, cache=False).diagnose("The keys are here.")
    told = dict(found.lines())
    assert told["taken out of"] == "DataParallel"
    assert told["text side"] == type(whole.tokenizer).__name__
    assert told["quantized"].endswith(" Linear")


def test_either_text_or_inputs() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    with pytest.raises(InputError, match="either a text or inputs"):
        analyzer.diagnose()
    assert "tokens" in analyzer.diagnose("The keys are here.").size
