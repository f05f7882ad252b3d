"""The encoder and the decoder know everyday English that they never read."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from demo_models.evaluation import next_token_losses

# On the cards a model that knows only the frequencies of the pieces needs about three quarters of
# what a uniform guess costs.
SHARE_OF_UNIFORM = 0.6


def test_decoder_predicts_the_next_token(decoder, everyday) -> None:
    model, tokenizer = decoder
    losses = torch.cat(
        [next_token_losses(model, tokenizer(text, return_tensors="pt")["input_ids"])[0] for text in everyday]
    )
    assert losses.mean() < SHARE_OF_UNIFORM * math.log(len(tokenizer))


def test_encoder_fills_in_each_word_in_turn(encoder, everyday) -> None:
    model, tokenizer = encoder
    losses = []
    for text in everyday:
        ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
        places = torch.arange(1, len(ids) - 1)
        rows = ids.repeat(len(places), 1)
        rows[torch.arange(len(places)), places] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(rows).logits[torch.arange(len(places)), places]
        losses.append(cross_entropy(logits, ids[places], reduction="none"))
    assert torch.cat(losses).mean() < SHARE_OF_UNIFORM * math.log(len(tokenizer))


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("The girl gave the ball to [MASK] brother.", {"her"}),
        ("He looked at me and shook his [MASK].", {"head"}),
        ("Once upon a [MASK], there was a little boy.", {"time"}),
        ("She did [MASK] know what to say.", {"not"}),
    ],
)
def test_encoder_uses_the_words_around_a_gap(encoder, text: str, answers: set[str]) -> None:
    model, tokenizer = encoder
    encoded = tokenizer(text, return_tensors="pt")
    gap = (encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        best = model(**encoded).logits[0, gap].topk(3).indices
    assert answers & set(tokenizer.convert_ids_to_tokens(best))


def test_padding_changes_nothing(encoder, decoder) -> None:
    for model, tokenizer in (encoder, decoder):
        short, long = "The dog sleeps.", "The dog sleeps under the table because it is tired."
        alone = tokenizer(short, return_tensors="pt")
        both = tokenizer([short, long], padding=True, return_tensors="pt")
        size = alone["input_ids"].shape[1]
        with torch.no_grad():
            torch.testing.assert_close(model(**alone).logits[0], model(**both).logits[0, :size], atol=1e-4, rtol=1e-4)
