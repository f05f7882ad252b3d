"""Train `demo-listener`: a small Whisper that writes down the digits dialed on a telephone keypad.

python -m demo_models.listener --scratch WORK_FOLDER
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from demo_models import cards, publishing, tones, tones_evaluation
from demo_models.arguments import parse_arguments
from demo_models.tokenization import digit_tokenizer
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-listener"
PLAN = Plan(rate=((0, 0.0), (100, 1.0), (4000, 0.0)), learning_rate=3e-3)
EXAMPLES_PER_STEP = 24
#: Start, "no timestamps", eight digits, end.
TARGET_LENGTH = 11
IGNORED = -100


def processor() -> WhisperProcessor:
    """Reads four seconds at 16 kHz as 40 mel bands per 10 ms; reads and writes digits."""
    features = WhisperFeatureExtractor(feature_size=40, chunk_length=tones.SECONDS)
    return WhisperProcessor(features, digit_tokenizer())


def configuration(tokenizer_of: WhisperProcessor) -> WhisperConfig:
    """Two encoder and two decoder layers of four heads, width 96; a token of the encoder is 20 ms of sound."""
    tokenizer = tokenizer_of.tokenizer
    end = tokenizer.eos_token_id
    return WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=40,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=384,
        decoder_ffn_dim=384,
        max_source_positions=tones.SECONDS * 50,
        max_target_positions=32,
        dropout=0.0,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )


def batch_at(step: int, read: WhisperProcessor) -> Batch:
    """Fresh random sounds, none of a held-out number."""
    generator = random.Random(PLAN.seed * 1_000_003 + step)
    examples = [tones.example(generator, held_out=False) for _ in range(EXAMPLES_PER_STEP)]
    features = read.feature_extractor([e.sound for e in examples], sampling_rate=tones.RATE, return_tensors="pt")[
        "input_features"
    ]
    encoded = read.tokenizer(
        [tones.text_of(e.digits) for e in examples], padding="max_length", max_length=TARGET_LENGTH, return_tensors="pt"
    )
    # The first token is the one that the decoder starts with; the model puts it back.
    ids, known = encoded["input_ids"][:, 1:], encoded["attention_mask"][:, 1:]
    return {"input_features": features, "labels": ids.masked_fill(known == 0, IGNORED)}


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the digits and the end mark, in nats."""
    return model(**batch).loss


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=False, by_clock=True)
    read = processor()
    torch.manual_seed(PLAN.seed)
    model = WhisperForConditionalGeneration(configuration(read))
    generation = model.generation_config
    generation.max_new_tokens = 16
    generation.is_multilingual = False
    generation.no_timestamps_token_id = read.tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    plan = replace(PLAN, minutes=arguments.minutes)
    outcome = train(model, loss_of, partial(batch_at, read=read), plan, scratch=arguments.scratch / NAME)
    folder = publishing.publish(model, read, plan, outcome, NAME)
    publishing.record(folder, tones_evaluation.measure(folder))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
