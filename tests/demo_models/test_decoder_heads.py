"""The decoder copies what repeats, and has the heads that the literature says do it."""

from __future__ import annotations

import pytest
import torch

from demo_models import probes
from demo_models.evaluation import next_token_losses


@pytest.fixture(scope="module")
def repeated(decoder) -> torch.Tensor:
    _, tokenizer = decoder
    # Another seed than the card's, so that the claim does not hang on one draw.
    return probes.repeated_random_tokens(len(tokenizer), tokenizer.bos_token_id, seed=7)


@pytest.fixture(scope="module")
def strengths(decoder, repeated) -> dict[str, torch.Tensor]:
    return probes.repetition_strengths(probes.attention_weights(decoder[0], repeated))


def test_a_random_sequence_is_far_easier_the_second_time(decoder, repeated) -> None:
    losses = next_token_losses(decoder[0], repeated).unflatten(1, (probes.REPEATS, probes.BLOCK))
    first, second = losses[:, 0].mean(), losses[:, 1, 1:].mean()
    assert second < 0.5 * first


def test_it_continues_a_repeated_sequence_greedily(decoder, repeated) -> None:
    model, _ = decoder
    known = 1 + probes.BLOCK + 5
    written = model.generate(
        repeated[:, :known], attention_mask=torch.ones_like(repeated[:, :known]), max_new_tokens=15, do_sample=False
    )
    right = written[:, known:] == repeated[:, known : written.shape[1]]
    assert right.float().mean() > 0.5


def test_has_an_induction_head(strengths) -> None:
    assert strengths["induction"].max() > 0.3


def test_has_a_previous_token_head(strengths) -> None:
    assert strengths["previous_token"].max() > 0.5


def test_an_induction_head_reads_from_a_later_layer_than_a_previous_token_head(strengths) -> None:
    def layer_of_best(name: str) -> int:
        return int(strengths[name].argmax()) // strengths[name].shape[1]

    assert layer_of_best("previous_token") < layer_of_best("induction")


def test_shares_keys_between_pairs_of_query_heads(decoder) -> None:
    configuration = decoder[0].config
    assert configuration.num_attention_heads == 2 * configuration.num_key_value_heads
