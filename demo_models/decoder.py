"""Train `demo-decoder`: a small Llama with grouped-query attention, RoPE and induction heads.

    python -m demo_models.decoder --data TEXT_FOLDER --scratch WORK_FOLDER

Some of the training windows repeat themselves: plain text at this scale repeats too rarely for
induction heads to be counted on. In the first 3,600 steps it is one window in eight, which gave
previous-token heads and an induction head that had only begun to form (prefix matching 0.24); a
second, shorter stage with more repetition lets it finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from demo_models import cards, evaluation, history, publishing
from demo_models.arguments import parse_arguments
from demo_models.corpus import read_corpus
from demo_models.repetition import repeated_random, repeated_span
from demo_models.token_stream import TokenStream, streams_of
from demo_models.tokenization import decoder_tokenizer, tokenizer_texts
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-decoder"
SHORT, LONG = 256, 1024


@dataclass(frozen=True)
class Stage:
    """What the windows are like up to step `until`: their tokens, and the shares that repeat."""

    until: int
    length: int
    random_repeats: float
    span_repeats: float


STAGES = (
    Stage(until=3240, length=SHORT, random_repeats=0.0625, span_repeats=0.0625),
    Stage(until=3600, length=LONG, random_repeats=0.0625, span_repeats=0.0625),
    Stage(until=4350, length=SHORT, random_repeats=0.25, span_repeats=0.125),
    Stage(until=4500, length=LONG, random_repeats=0.25, span_repeats=0.125),
)
SECOND_STAGE = 3600
PLAN = Plan(
    rate=((0, 0.0), (100, 1.0), (2000, 0.678), (SECOND_STAGE, 0.0), (SECOND_STAGE + 40, 0.5), (4500, 0.0)),
    learning_rate=5e-3,
)
TOKENS_PER_STEP = 4096
STORY_SHARE = 0.2
IGNORED = -100


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Five layers of six query heads that share three key-value heads."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=LONG,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def batch_at(step: int, stories: TokenStream, novels: TokenStream, vocabulary: int, bos: int) -> Batch:
    """Windows of text that open with `<s>`; some repeat a span of themselves or random tokens."""
    generator = np.random.default_rng([PLAN.seed, step])
    stage = next(stage for stage in STAGES if step < stage.until)
    length = stage.length
    count = TOKENS_PER_STEP // length
    plain = 1 - stage.random_repeats - stage.span_repeats
    kinds = generator.choice(3, size=count, p=[plain, stage.random_repeats, stage.span_repeats])
    rows = np.empty((count, length), dtype=np.int64)
    labels = np.empty_like(rows)
    for row, kind in enumerate(kinds):
        source = stories if generator.random() < STORY_SHARE else novels
        text = source.windows(generator, 1, length - 1)[0]
        fresh = 0  # how many tokens at the start cannot be predicted and are not learned
        if kind == 1:
            text, fresh = repeated_random(generator, vocabulary, length - 1)
        elif kind == 2:
            text = repeated_span(generator, text)
        rows[row] = np.concatenate([[bos], text])
        labels[row] = rows[row]
        labels[row, : fresh + 1] = IGNORED
    return {"input_ids": torch.from_numpy(rows), "labels": torch.from_numpy(labels)}


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean next-token cross-entropy in nats."""
    hidden = model.model(batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden)
    return nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )


def saved_moments() -> list[int]:
    """Step 0, a log-spaced schedule from step 8, and a second one from the start of the second stage."""
    first = np.geomspace(8, 6000, 29).round().astype(int)
    second = SECOND_STAGE + np.geomspace(25, PLAN.steps - SECOND_STAGE, 6).round().astype(int)
    return [0, *(step for step in first.tolist() if step < SECOND_STAGE), SECOND_STAGE, *second.tolist()]


def tokenizer_and_streams(data: Path, scratch: Path) -> tuple[PreTrainedTokenizerFast, dict[str, TokenStream]]:
    """The tokenizer and the encoded text, made once and kept in the scratch folder."""
    corpus = read_corpus(data)
    folder = scratch / "tokenizer"
    if not folder.exists():
        decoder_tokenizer(tokenizer_texts(corpus)).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer, streams_of(corpus, tokenizer, tokenizer.eos_token_id, scratch / "streams")


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=True, by_clock=False)
    scratch = arguments.scratch / NAME
    tokenizer, streams = tokenizer_and_streams(arguments.data, scratch)
    torch.manual_seed(PLAN.seed)
    model = LlamaForCausalLM(configuration(tokenizer))
    batches = partial(
        batch_at,
        stories=streams["stories_train"],
        novels=streams["novels_train"],
        vocabulary=len(tokenizer),
        bos=tokenizer.bos_token_id,
    )

    def keep_moment(step: int, model: PreTrainedModel) -> None:
        model.save_pretrained(scratch / "moments" / f"step-{step:05d}")

    outcome = train(
        model,
        loss_of,
        batches,
        PLAN,
        scratch=scratch,
        milestones=saved_moments(),
        at_milestone=keep_moment,
    )
    folder = publishing.publish(model, tokenizer, PLAN, outcome, NAME)
    rows = evaluation.held_out_rows(streams["novels_held_out"], tokenizer.bos_token_id, SHORT, 16)
    history.publish_history(scratch / "moments", tokenizer, rows, TOKENS_PER_STEP)
    publishing.record(folder, evaluation.measure_decoder(folder, streams))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
