"""Quantized models: recorded and compared as any other, told apart by every weight, and without false gradients."""

from __future__ import annotations

from typing import Any, Self

import pytest
import torch
from torch import nn

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.models.fingerprint import fingerprint
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load
from attention_analyzer.models.quantized import quantized_layers

TEXTS = ["The keys to the cabinet are on the table.", "A ship left the harbor at noon.", "She knows why it was closed."]
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]


def in_int8(name: str) -> LoadedModel:
    whole = load(name)
    model = torch.ao.quantization.quantize_dynamic(whole.model, {nn.Linear}, dtype=torch.qint8)
    return load(model, whole.tokenizer)


def test_weights_are_those_of_the_int8_model() -> None:
    loaded = in_int8("demo-encoder")
    analyzer = AttentionAnalyzer.of(loaded, cache=False)
    record = analyzer.record(TEXTS[0])
    ids = loaded.tokenizer(TEXTS[0], return_tensors="pt")
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = loaded.model(**ids, output_attentions=True).attentions
    for layer, weights in enumerate(expected):
        torch.testing.assert_close(record.weights(layer), weights[0], atol=1e-5, rtol=0)


def test_a_model_is_compared_with_its_int8_self() -> None:
    small = in_int8("demo-encoder")
    compared = AttentionAnalyzer("demo-encoder", cache=False).compare((small.model, small.tokenizer), texts=TEXTS)
    assert 0 < compared.heads["divergence"].max() < 0.1


def test_the_fingerprint_changes_with_any_packed_weight() -> None:
    loaded = in_int8("demo-decoder")
    first = loaded.fingerprint
    assert first == fingerprint(loaded.model) != load("demo-decoder").fingerprint
    path = next(iter(quantized_layers(loaded.model)))
    layer: Any = loaded.model.get_submodule(path)
    weight, bias = layer._weight_bias()
    codes = weight.int_repr()
    codes[-1, -1] += 1 if int(codes[-1, -1]) < 127 else -1
    packed = torch._make_per_tensor_quantized_tensor(codes, weight.q_scale(), weight.q_zero_point())
    layer.set_weight_bias(packed, bias)
    assert loaded.fingerprint != first


def test_parts_of_a_tensor_subclass_are_hashed() -> None:
    """A weight kept as codes and scales, as quantization libraries do."""
    module = nn.Linear(4, 3)
    module.weight = nn.Parameter(Scaled(torch.arange(12, dtype=torch.int8).view(3, 4), torch.ones(3)), False)
    first = fingerprint(module)
    module.weight.scale[1] = 2  # type: ignore[union-attr, operator, index]
    second = fingerprint(module)
    module.weight.codes[2, 3] = 0  # type: ignore[union-attr, operator, index]
    assert len({first, second, fingerprint(module)}) == 3
    assert quantized_layers(module) == {"": "Linear"}


@pytest.mark.parametrize("method", ["gradient_attention", "integrated_gradients"])
def test_methods_by_gradient_refuse_where_none_passes(method: str) -> None:
    if method == "integrated_gradients":
        pytest.importorskip("captum", reason="captum is not installed")
    analyzer = AttentionAnalyzer.of(in_int8("demo-decoder"), cache=False)
    with pytest.raises(UnsupportedModelError, match=r"quantized weights through which no gradients pass"):
        analyzer.token_importance(TEXTS[0], method)
    assert analyzer.token_importance(TEXTS[0], "rollout").scores


def test_importance_by_gradient_refuses_too() -> None:
    analyzer = AttentionAnalyzer.of(in_int8("demo-decoder"), cache=False)
    with pytest.raises(UnsupportedModelError, match=r"quantized weights through which no gradients pass"):
        analyzer.head_importance(TEXTS)


class Scaled(torch.Tensor):
    codes: torch.Tensor
    scale: torch.Tensor

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scale: torch.Tensor) -> Self:
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)  # type: ignore[attr-defined, no-any-return]

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        self.codes, self.scale = codes, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], context: None, size: Any, stride: Any) -> Scaled:
        return Scaled(inner["codes"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return Scaled(args[0].codes, args[0].scale)
        raise NotImplementedError(func)
