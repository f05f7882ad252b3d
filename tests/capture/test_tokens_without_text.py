"""Learned tokens, vectors without ids and caches that were filled before: what stands before a text in a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

import attention_analyzer
from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import UnsupportedModelError
from tests.capture.small import ids, matrices, model_of, padded

# peft asks the model for a name that transformers has renamed, and says of every generation that it counts positions.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
LEARNED = 3
SETTINGS = {"max_new_tokens": 4, "min_new_tokens": 4, "pad_token_id": 0, "do_sample": False}


def tuned(kind: str) -> Any:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(0)
    chosen = {"prefix": peft.PrefixTuningConfig, "prompt": peft.PromptTuningConfig}[kind]
    return peft.get_peft_model(model_of("decoder"), chosen(task_type="CAUSAL_LM", num_virtual_tokens=LEARNED)).eval()


def rows_of_all_steps(model: Any, **inputs: Any) -> list[Tensor]:
    """``[text, head, query, key]`` per layer of a generation, as the model hands it over step by step."""
    model.get_base_model().set_attn_implementation("eager")
    found = model.generate(**inputs, **SETTINGS, output_attentions=True, return_dict_in_generate=True).attentions
    model.get_base_model().set_attn_implementation("sdpa")
    keys = found[-1][0].shape[-1]
    return [
        torch.cat([pad(step[layer], (0, keys - step[layer].shape[-1])) for step in found], 2)
        for layer in range(len(found[0]))
    ]


@pytest.mark.parametrize("side", ["left", None])
@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_a_generation_behind_learned_tokens_is_one_record_per_sequence(kind: str, side: str | None) -> None:
    model, texts = tuned(kind), ids(6, 3) if side else ids(6)
    inputs = padded(texts, side or "left")
    plain = model.generate(**inputs, **SETTINGS)
    with attention_analyzer.capture(model) as captured:
        inside = model.generate(**inputs, **SETTINGS)
    assert torch.equal(plain, inside)

    expected = rows_of_all_steps(model, **inputs)
    assert len(captured) == len(texts)
    for row, record in enumerate(captured):
        text = pad(inputs["attention_mask"][row], (0, 3), value=1).bool()
        keys = pad(text, (LEARNED, 0), value=True)
        queries = text if kind == "prefix" else keys
        for layer, whole in enumerate(expected):
            torch.testing.assert_close(record.weights(layer), whole[row][:, queries][..., keys], atol=2e-6, rtol=0)
        shown = record.entries[0].keys
        assert shown.pieces[:LEARNED] == ("[prefix 0]", "[prefix 1]", "[prefix 2]")
        assert all(shown.is_special[:LEARNED])
        assert list(shown.ids[LEARNED:]) == inside[row][:-1][text].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_a_padded_batch_behind_learned_tokens_has_no_padding(kind: str, side: str) -> None:
    model, texts = tuned(kind), ids(6, 3)
    inputs = padded(texts, side)
    with attention_analyzer.capture(model) as captured, torch.no_grad():
        model(**inputs)
    recorded = AttentionAnalyzer(model, cache=False).record(inputs=inputs)
    for text, mine, other in zip(texts, captured, recorded, strict=True):
        assert mine.entries[0].keys.ids == other.entries[0].keys.ids == (*(-1,) * LEARNED, *text.tolist())
        assert torch.equal(mine.weights(1), other.weights(1))


def test_vectors_have_the_ids_that_were_embedded() -> None:
    model, (text,) = model_of("decoder"), ids(7)
    table: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    with attention_analyzer.capture(model) as captured, torch.no_grad():
        model(inputs_embeds=torch.cat([torch.ones(1, 2, 24), table(text[None])], 1))
        model(inputs_embeds=torch.ones(1, 7, 24))  # of no ids
    assert captured[0].tokens.ids == (-1, -1, *text.tolist())
    assert not captured[1].tokens.ids


def test_a_cache_that_was_filled_before_the_block_has_earlier_tokens() -> None:
    model, inputs = model_of("decoder"), padded(ids(9, 7), "left")
    with torch.no_grad():
        mask, positions = inputs["attention_mask"], (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        arguments = {"input_ids": inputs["input_ids"], "position_ids": positions}
        first = {name: each[:, :4] for name, each in arguments.items()}
        cache = model(**first, attention_mask=mask[:, :4], use_cache=True).past_key_values
        with attention_analyzer.capture(model) as captured:
            for step in (slice(4, 7), slice(7, 8), slice(8, 9)):
                now = {name: each[:, step] for name, each in arguments.items()}
                model(**now, attention_mask=mask[:, : step.stop], past_key_values=cache)
    expected = matrices(model, **arguments, attention_mask=mask)
    assert [record.notes["steps"] for record in captured] == [3, 3]
    for row, (record, padding) in enumerate(zip(captured, (0, 2), strict=True)):
        for layer, whole in enumerate(expected):
            torch.testing.assert_close(record.weights(layer), whole[row][:, 4:, padding:], atol=2e-6, rtol=0)
        keys = record.entries[0].keys
        assert keys.pieces[: 4 - padding] == tuple(f"[earlier {number}]" for number in range(4 - padding))
        assert list(keys.ids[4 - padding :]) == inputs["input_ids"][row][4:].tolist()
        assert not any(keys.is_special[: 4 - padding])


def test_a_forward_that_is_called_past_the_hooks_has_its_tokens() -> None:
    model, texts = model_of("encoder"), ids(7, 4)
    inputs = padded(texts, "right")
    with attention_analyzer.capture(model) as captured, torch.no_grad():
        model.forward(**inputs)
    expected = matrices(model, **inputs)
    for row, (text, record) in enumerate(zip(texts, captured, strict=True)):
        size = len(text)
        assert record.tokens.ids == tuple(text.tolist())
        torch.testing.assert_close(record.weights(1), expected[1][row][:, :size, :size], atol=2e-6, rtol=0)


def test_layers_that_run_outside_of_any_call_are_no_empty_block() -> None:
    model, (text,) = model_of("decoder").model, ids(7)
    with attention_analyzer.capture(model) as captured, torch.no_grad():
        model.forward(input_ids=text[None])
    with pytest.raises(UnsupportedModelError, match=r"call the model itself, model\(…\), instead of model.forward"):
        _ = captured.records


def test_a_prompt_of_one_token_is_where_its_steps_are() -> None:
    model = model_of("decoder")
    with attention_analyzer.capture(model) as captured:
        found = model.generate(torch.tensor([[5]]), **SETTINGS)
    assert [record.notes["steps"] for record in captured] == [4]
    assert captured[0].sites[0].name == "decoder.self.0"
    assert list(captured[0].tokens.ids) == found[0][:-1].tolist()
