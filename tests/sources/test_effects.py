"""Suppression against masks written by hand, and retrieval heads against full matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.parts import Part

TEXT = "Tom had a dog. The dog was happy. Tom and the dog went home."
PROMPT = "One day a girl named Sue saw a big tree. The tree was red. Then the girl named"


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def test_suppression_equals_masks_written_by_hand(decoder: AttentionAnalyzer) -> None:
    found = decoder.suppression(TEXT)
    parts = found.parts
    ids = torch.tensor([parts.tokens.ids])
    size = ids.shape[1]
    with torch.no_grad():
        whole = decoder.model(ids).logits[0].double().log_softmax(-1)
    for part in range(len(parts)):
        seen = torch.ones(size, size).tril()
        start = parts.borders[part + 1]
        seen[start:, parts.borders[part] : start] = 0
        mask = torch.zeros(1, 1, size, size).masked_fill(seen == 0, torch.finfo(torch.float32).min)
        with torch.no_grad():
            changed = decoder.model(ids, attention_mask=mask).logits[0].double().log_softmax(-1)
        divergence = (whole.exp() * (whole - changed)).sum(-1).numpy()
        for after in range(len(parts)):
            predicting = [token - 1 for token in range(*parts.borders[after : after + 2]) if token - 1 >= start]
            if after <= part or not predicting:
                assert np.isnan(found.divergence[part, after])
            else:
                assert found.divergence[part, after] == pytest.approx(divergence[predicting].mean(), abs=1e-4)
    assert set(found.to_frame()["part"]) <= set(parts.names)


def test_a_last_part_of_one_token_is_predicted_by_the_part_before_it(decoder: AttentionAnalyzer) -> None:
    found = decoder.suppression("Tom had a dog.", [Part("most", 0, 13), Part("stop", 13, 14)])
    assert found.parts.names[-2:] == ("most", "stop")
    assert np.isnan(found.divergence[-2, -1]) and not np.isnan(found.divergence).all()


def test_what_cannot_be_suppressed_is_refused(decoder: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match="is one part"):
        decoder.suppression("dog", [Part("all", 0, 3)])
    with pytest.raises(UnsupportedModelError, match="does not continue a text"):
        AttentionAnalyzer("demo-encoder", cache=False).suppression(TEXT)


def test_retrieval_weights_equal_full_matrices(decoder: AttentionAnalyzer) -> None:
    found = decoder.retrieval_heads(PROMPT, answer=" Sue", shuffles=200)
    record = decoder.record(PROMPT)
    (wanted,) = decoder.tokenizer(" Sue", add_special_tokens=False)["input_ids"]
    keys = [at for at, number in enumerate(record.tokens.ids) if number == wanted]
    assert len(keys) == 1 and found.copied and found.table["p_value"].between(0, 1).all()
    for row in found.table.itertuples():
        full = record.weights(row.layer, row.head)[-1].double().numpy()
        assert row.weight == pytest.approx(full[keys].sum(), abs=1e-5)
    assert found.table["part"][0] == "sentence 1" and found.table["copied"][0] == 1 and found.table["weight"][0] > 0.3
    # One token may stand anywhere, so no shuffle of a short prompt is rare; several tokens are.
    assert not found.table["retrieves"].any()
    longer = decoder.retrieval_heads(PROMPT, answer=" Sue saw a big tree", shuffles=500).table
    assert longer["p_value"][0] < 0.02 and longer["weight"][0] > 2 * longer["control"][0]


def test_an_answer_that_does_not_stand_in_the_prompt_is_refused(decoder: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match="No token of the answer"):
        decoder.retrieval_heads(PROMPT, answer=" happy", shuffles=50)
