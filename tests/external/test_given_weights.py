"""Weights of other programs: every form they come in gives the same record, everything else one clear sentence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionRecord, Tokens
from attention_analyzer.errors import InputError, SelectionError

LAYERS, BATCH, HEADS, SIZE = 3, 5, 2, 7
TOKENS = list("abcdefg")


def weights(*shape: int) -> torch.Tensor:
    return torch.softmax(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), -1)


STACK = weights(LAYERS, BATCH, HEADS, SIZE, SIZE)


@pytest.mark.parametrize(
    ("given", "batch"),
    [
        pytest.param(tuple(STACK), 3, id="outputs.attentions: a tuple of [batch, head, query, key]"),
        pytest.param(STACK.numpy(), 3, id="one array [layer, batch, head, query, key]"),
        pytest.param(STACK[:, 3:4], None, id="a batch of one needs no choice"),
        pytest.param([*STACK[:, 3].numpy()], None, id="a list of [head, query, key]"),
        pytest.param(STACK[:, 3], None, id="one array [layer, head, query, key]"),
        pytest.param(STACK[:, 3].tolist(), None, id="nested lists"),
        pytest.param([[*layer] for layer in STACK[:, 3]], None, id="lists of tensors, one for each head"),
        pytest.param(STACK[:, 3].numpy()[:, ::-1][:, ::-1], None, id="a view of negative strides"),
        pytest.param(STACK[:, 3].numpy().astype(">f4"), None, id="another byte order"),
        pytest.param(STACK[:, 3].double().requires_grad_(), None, id="part of a graph"),
        pytest.param(STACK[:, 3].numpy().astype(np.longdouble), None, id="longer than double"),
    ],
)
def test_every_form_gives_the_same_record(given, batch: int | None) -> None:
    record = AttentionRecord.from_weights(given, TOKENS, batch=batch)
    assert [site.name for site in record.sites] == ["encoder.self.0", "encoder.self.1", "encoder.self.2"]
    for layer in range(LAYERS):
        torch.testing.assert_close(record.weights(layer).float(), STACK[layer, 3])


def test_an_array_of_bfloat16_from_numpy() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has bfloat16 by the package ml_dtypes")
    array = STACK[:, 0].numpy().astype(ml_dtypes.bfloat16)
    record = AttentionRecord.from_weights(array, TOKENS)
    assert record.entries[0].weights.full().dtype == torch.float32
    torch.testing.assert_close(record.weights(1), STACK[1, 0].bfloat16().float())


def test_an_array_that_is_read_only_is_copied() -> None:
    array = STACK[:, 0].numpy().copy()
    array.flags.writeable = False
    record = AttentionRecord.from_weights(array, TOKENS)
    array.flags.writeable = True
    before = record.weights(0)
    array[:] = 0
    assert torch.equal(record.weights(0), before)


def test_layers_keep_the_numbers_they_are_given() -> None:
    record = AttentionRecord.from_weights(STACK[:2, 0], TOKENS, layers=[1, 5])
    assert [site.layer for site in record.sites] == [1, 5]
    with pytest.raises(InputError, match="row of layer 5 sums to 2"):
        AttentionRecord.from_weights([STACK[0, 0], STACK[1, 0] * 2], TOKENS, layers=[1, 5])


@pytest.mark.parametrize("layers", [[1], [1, 1], [0, -1], [0, 1.5], [0, True], "ab"])
def test_layer_numbers_that_name_no_layers(layers) -> None:
    with pytest.raises(InputError, match="must name each of the 2 layers"):
        AttentionRecord.from_weights(STACK[:2, 0], TOKENS, layers=layers)


def bad_row(total: float) -> torch.Tensor:
    array = STACK[:, 0].clone()
    array[1, 1, 4] *= total
    return array


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, r"are None: .*attn_implementation='eager'.*layers="),
        ((), "No weights were given"),
        ([STACK[0, 0], None], r"layer 1 are None"),
        (tuple(STACK), r"\(5, 2, 7, 7\), a batch of 5 texts.*batch=0 to batch=4"),
        (STACK, r"a batch of 5 texts"),
        (STACK[:, 0, :, :, :5], r"shape \(2, 7, 5\), but \[head, 7, 7\] was expected for 7 query and 7 key tokens"),
        (STACK[None], r"shape \(1, 3, 5, 2, 7, 7\), but \[head, query, key\], \[layer, head"),
        (STACK[0, 0, 0, 0], r"shape \(7,\)"),
        ([STACK[0, 0, 0, 0]], r"shape \(7,\)"),
        ([[]], r"shape \(0,\)"),
        (np.zeros((3, 0, 7, 7)), r"shape \(0, 7, 7\)"),
        (bad_row(0.7), r"row of layer 1 sums to 0.7 \(head 1, query 4\).*partial_rows=True"),
        (bad_row(1.5), r"row of layer 1 sums to 1.5 \(head 1, query 4\)"),
        (torch.randn(2, 7, 7), r"negative number.*scores before the softmax"),
        (torch.full((2, 7, 7), -torch.inf).triu(1) + 0.2, r"head 0, query 0, key 1 is -inf.*softmax\(scores\)"),
        (torch.full((2, 7, 7), torch.nan), r"layer 0, head 0, query 0, key 0 is nan"),
        (STACK[:, 0].to(torch.complex64), "real numbers"),
        (STACK[0, 0].to_sparse(), "plain array"),
        (torch.empty(2, 7, 7, device="meta"), "plain array"),
        (np.array([["a"]]), "not an array of numbers"),
        ([["a"]], "not an array of numbers"),
        ([[[0.5, 0.5], [1.0]]], "not an array of numbers"),
        ([[1, 2, 10**400]], "not an array of numbers"),
        ("weights.npy", "one string"),
        (3.5, "not a float"),
        ({0: STACK[0, 0]}, "not a dict"),
        (SimpleNamespace(attentions=(STACK[0],)), "pass its attentions: outputs.attentions"),
    ],
)
def test_what_is_no_weights(given, says: str) -> None:
    with pytest.raises(InputError, match=says):
        AttentionRecord.from_weights(given, TOKENS)


@pytest.mark.parametrize("batch", [5, -1, True, 1.0, "0"])
def test_rows_that_a_batch_does_not_have(batch) -> None:
    with pytest.raises(SelectionError, match=r"no row .*\(5, 2, 7, 7\)"):
        AttentionRecord.from_weights(tuple(STACK), TOKENS, batch=batch)


def test_an_array_of_layers_has_no_batch_to_choose_from() -> None:
    with pytest.raises(InputError, match=r"\(2, 7, 7\), without a batch"):
        AttentionRecord.from_weights(STACK[:, 0], TOKENS, batch=1)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ("abcdefg", "one string"),
        (torch.arange(7), "number 0 is a Tensor.*convert_ids_to_tokens"),
        ([1, 2, 3, 4, 5, 6, 7], r"number 0 is an int \(1\)"),
        (None, "not None"),
        ([], "empty"),
        (["a", b"b"], "number 1 is a bytes"),
    ],
)
def test_tokens_that_are_no_strings(tokens, says: str) -> None:
    with pytest.raises(InputError, match=says):
        AttentionRecord.from_weights(STACK[:, 0], tokens)


def test_rows_of_padding_and_of_models_with_sinks() -> None:
    padded = STACK[:, 0].clone()
    padded[:, :, 5:] = 0
    assert AttentionRecord.from_weights(padded, TOKENS).heads()["max_weight"].notna().all()
    record = AttentionRecord.from_weights(STACK[:, 0] * 0.6, TOKENS, partial_rows=True)
    torch.testing.assert_close(record.weights(0).sum(-1), torch.full((2, 7), 0.6))
    with pytest.raises(InputError, match=r"sums to 1\.5"):
        AttentionRecord.from_weights(bad_row(1.5), TOKENS, partial_rows=True)


def test_cross_attention_has_tokens_of_its_own_for_keys() -> None:
    record = AttentionRecord.from_weights(weights(2, 1, 7, 3), TOKENS, key_tokens=Tokens.of_pieces("xyz"))
    assert [site.name for site in record.sites] == ["decoder.cross.0", "decoder.cross.1"]
    assert record.entries[0].keys.pieces == ("x", "y", "z")


def test_causal_is_checked_when_it_is_said() -> None:
    with pytest.raises(InputError, match="not causal"):
        AttentionRecord.from_weights(STACK[:, 0], TOKENS, causal=True)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_nested_tensor_is_refused() -> None:
    nested = torch.nested.nested_tensor([torch.full((2, 2), 0.5), torch.full((2, 2), 0.5)])
    with pytest.raises(InputError, match="not a nested tensor"):
        AttentionRecord.from_weights(nested, ["a", "b"])
