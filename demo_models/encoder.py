"""Train `demo-encoder`: a small BERT that fills in masked words.

    python -m demo_models.encoder --data TEXT_FOLDER --scratch WORK_FOLDER

Three window lengths take turns: short ones end with a sentence, because that is what people paste
into an analyser, and the longest ones train every position the model accepts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel, PreTrainedTokenizerFast

from demo_models import cards, evaluation, publishing
from demo_models.arguments import parse_arguments
from demo_models.corpus import passages, read_corpus
from demo_models.masking import IGNORED, framed, masked
from demo_models.token_stream import TokenStream, streams_of
from demo_models.tokenization import encoder_tokenizer, tokenizer_texts
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-encoder"
PLAN = Plan(rate=((0, 0.0), (200, 1.0), (3000, 0.0)), learning_rate=4e-3)
TOKENS_PER_STEP = 4096
LENGTHS, LENGTH_SHARES = (32, 128, 512), (0.35, 0.45, 0.2)
STORY_SHARE = 0.2


def configuration(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    """Six layers of six heads."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=max(LENGTHS),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )


def batch_at(step: int, stories: TokenStream, novels: TokenStream, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """One step's windows, freshly masked."""
    generator = np.random.default_rng([PLAN.seed, step])
    length = int(generator.choice(LENGTHS, p=LENGTH_SHARES))
    count = TOKENS_PER_STEP // length
    from_stories = generator.binomial(count, STORY_SHARE)
    windows = np.concatenate(
        [
            stories.windows(generator, from_stories, length - 2),
            novels.windows(generator, count - from_stories, length - 2),
        ]
    )
    rows = framed(windows, tokenizer, end_with_sentence=length == min(LENGTHS))
    return masked(rows, tokenizer, generator)


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the hidden pieces in nats; only their positions reach the output."""
    hidden = model.bert(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    logits = model.cls(hidden.flatten(0, 1)[batch["places"]])
    return nn.functional.cross_entropy(logits.float(), batch["labels"], ignore_index=IGNORED)


def tokenizer_and_streams(data: Path, scratch: Path) -> tuple[PreTrainedTokenizerFast, dict[str, TokenStream]]:
    """The tokenizer and the encoded text, made once and kept in the scratch folder."""
    corpus = read_corpus(data)
    folder = scratch / "tokenizer"
    if not folder.exists():
        encoder_tokenizer(tokenizer_texts(corpus)).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer, streams_of(corpus, tokenizer, tokenizer.sep_token_id, scratch / "streams")


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=True, by_clock=True)
    scratch = arguments.scratch / NAME
    tokenizer, streams = tokenizer_and_streams(arguments.data, scratch)
    torch.manual_seed(PLAN.seed)
    model = BertForMaskedLM(configuration(tokenizer))
    batches = partial(
        batch_at,
        stories=streams["stories_train"],
        novels=streams["novels_train"],
        tokenizer=tokenizer,
    )
    plan = replace(PLAN, minutes=arguments.minutes)
    outcome = train(model, loss_of, batches, plan, scratch=scratch)
    folder = publishing.publish(model, tokenizer, plan, outcome, NAME)
    publishing.record(folder, evaluation.measure_encoder(folder, streams))
    texts = passages(read_corpus(arguments.data))
    publishing.record(folder, evaluation.named_heads(folder, texts))
    publishing.record(folder, evaluation.reach_of_previous_token(folder, texts))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
