"""Receiver heads and lookback ratios: planted heads, and full matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError
from attention_analyzer.parts import Part, parts_of
from attention_analyzer.text.tokens import Tokens

SIZE = 24


def planted() -> AttentionRecord:
    """Three heads over 24 parts of a token each: noise, noise, and one that all later tokens point to part 6 with."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(3, SIZE, SIZE, generator=generator) * 0.2 + 1
    weights[2, 7:, 6] += 12
    weights = weights.tril()
    tokens = Tokens.of_pieces([f"t{number:02}" for number in range(SIZE)])
    return AttentionRecord.from_weights([weights / weights.sum(-1, keepdim=True)], tokens)


def own_parts(record: AttentionRecord) -> list[Part]:
    return [Part(f"part {number}", 3 * number, 3 * number + 3) for number in range(len(record.tokens))]


def test_the_planted_receiver_is_found_and_nothing_else() -> None:
    record = planted()
    found = record.receivers(own_parts(record), gap=3)
    assert found.table["receiver"].tolist() == [False, False, True]
    assert found.table["part"][2] == "part 6"
    expected = np.nan_to_num(record.between(own_parts(record)).without_sinks - record.between(own_parts(record)).chance)
    assert found.scores[2, 6] == pytest.approx(expected[2, 9:, 6].mean())
    assert np.isnan(found.scores[:, SIZE - 3 :]).all()


def test_too_few_parts_are_refused_in_one_sentence() -> None:
    record = planted()
    thirds = parts_of(record.tokens, [Part("a", 0, 24), Part("b", 24, 48), Part("c", 48, 72)])
    with pytest.raises(InputError, match="There are 3 parts"):
        record.receivers(thirds)
    with pytest.raises(InputError, match="gap is at least 1"):
        record.receivers(own_parts(record), gap=0)


def test_lookback_equals_the_means_of_full_matrices() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    record = analyzer.generate("The boy went to the", max_new_tokens=5)
    start = int(record.notes["prompt_tokens"])
    found = record.lookback()
    assert found.start == start and len(found.tokens) == len(record.tokens) - start
    for number, (site, head) in enumerate(found.heads):
        full = record.weights(site.layer, head).double().numpy()
        for row, query in enumerate(range(start, len(record.tokens))):
            given, written = full[query, :start].mean(), full[query, start : query + 1].mean()
            assert found.ratios[number, row] == pytest.approx(given / (given + written), abs=1e-5)
    assert len(found.to_frame()) == len(found.heads)


def test_even_attention_has_a_lookback_of_one_half() -> None:
    weights = torch.ones(1, 8, 8).tril()
    record = AttentionRecord.from_weights(
        [weights / weights.sum(-1, keepdim=True)], Tokens.of_pieces(list("abcdefgh")), stack="decoder"
    )
    np.testing.assert_allclose(record.lookback(3).ratios, 0.5, atol=1e-6)
    for start, words in ((None, "give start="), (0, "between 1 and 7"), (8, "between 1 and 7")):
        with pytest.raises(InputError, match=words):
            record.lookback(start)
