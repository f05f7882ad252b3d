"""Train `demo-translator`: a small T5 that turns written-out dates into digits.

    python -m demo_models.translator --scratch WORK_FOLDER

The encoder is kept shallow on purpose: with little room to move a word's meaning elsewhere, the
decoder has to look at the word itself, and cross-attention becomes an alignment one can check.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from demo_models import cards, dates, evaluation, publishing
from demo_models.arguments import parse_arguments
from demo_models.tokenization import translator_tokenizer
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-translator"
PLAN = Plan(rate=((0, 0.0), (60, 1.0), (1500, 0.0)), learning_rate=3e-3)
EXAMPLES_PER_STEP = 128
SOURCE_LENGTH = 40
IGNORED = -100


def configuration(tokenizer: PreTrainedTokenizerFast) -> T5Config:
    """Three encoder and three decoder layers of four heads.

    As many of one as of the other: `generate` makes its cache of keys and values as long as the
    encoder, and a longer decoder finds no place in it (transformers 5.23).
    """
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=3,
        num_decoder_layers=3,
        num_heads=4,
        dropout_rate=0.0,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def batch_at(step: int, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Fresh random examples, none with a held-out date."""
    generator = random.Random(PLAN.seed * 1_000_003 + step)
    examples = [dates.example(generator, held_out=False) for _ in range(EXAMPLES_PER_STEP)]
    source = tokenizer(
        [e.text for e in examples],
        padding="max_length",
        max_length=SOURCE_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    labels = tokenizer([e.target for e in examples], return_tensors="pt")["input_ids"]
    return {
        "input_ids": source["input_ids"],
        "attention_mask": source["attention_mask"],
        "labels": labels,
    }


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the target characters and the end mark, in nats."""
    return model(**batch).loss


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=False, by_clock=True)
    tokenizer = translator_tokenizer(dates.vocabulary())
    torch.manual_seed(PLAN.seed)
    model = T5ForConditionalGeneration(configuration(tokenizer))
    model.generation_config.max_new_tokens = 16
    plan = replace(PLAN, minutes=arguments.minutes)
    outcome = train(model, loss_of, partial(batch_at, tokenizer=tokenizer), plan, scratch=arguments.scratch / NAME)
    folder = publishing.publish(model, tokenizer, plan, outcome, NAME)
    publishing.record(folder, evaluation.measure_translator(folder))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
