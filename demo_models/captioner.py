"""Train `demo-captioner`: a small ViT and GPT-2 that caption images of colored shapes.

    python -m demo_models.captioner --scratch WORK_FOLDER

The encoder is kept shallow, as the translator's is: each cell of the image keeps what it shows, so that
cross-attention has to look at the shape which a word names.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    PreTrainedModel,
    TrOCRProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from demo_models import cards, publishing, shapes, shapes_evaluation
from demo_models.arguments import parse_arguments
from demo_models.tokenization import caption_tokenizer
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-captioner"
PLAN = Plan(rate=((0, 0.0), (100, 1.0), (6000, 0.0)), learning_rate=3e-3)
EXAMPLES_PER_STEP = 32
#: Pixels of the side of what the model sees, and of one cell.
SIDE, CELL = 80, 8
CAPTION_LENGTH = 14
IGNORED = -100


def processor() -> TrOCRProcessor:
    """Resizes any image to ``SIDE`` × ``SIDE`` pixels in [-1, 1]; reads and writes captions."""
    images = ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    )
    return TrOCRProcessor(images, caption_tokenizer(shapes.vocabulary()))


def configuration(tokenizer_of: TrOCRProcessor) -> VisionEncoderDecoderConfig:
    """Two encoder and two decoder layers of four heads, width 96."""
    tokenizer = tokenizer_of.tokenizer
    encoder = ViTConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=384,
        image_size=SIDE,
        patch_size=CELL,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=96,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        add_cross_attention=True,
        is_decoder=True,
    )
    both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, tie_word_embeddings=False)
    both.decoder_start_token_id = tokenizer.bos_token_id
    both.pad_token_id = tokenizer.pad_token_id
    both.eos_token_id = tokenizer.eos_token_id
    return both


def batch_at(step: int, read: TrOCRProcessor) -> Batch:
    """Fresh random images, none of a held-out combination."""
    generator = random.Random(PLAN.seed * 1_000_003 + step)
    examples = [shapes.example(generator, held_out=False) for _ in range(EXAMPLES_PER_STEP)]
    pixels = read(images=[e.image for e in examples], return_tensors="pt")["pixel_values"]
    encoded = read.tokenizer(
        [e.caption for e in examples], padding="max_length", max_length=CAPTION_LENGTH, return_tensors="pt"
    )
    # The first token is the one that the decoder starts with; the model puts it back.
    ids, known = encoded["input_ids"][:, 1:], encoded["attention_mask"][:, 1:]
    return {"pixel_values": pixels, "labels": ids.masked_fill(known == 0, IGNORED)}


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the caption's words and the end mark, in nats."""
    return model(**batch).loss


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=False, by_clock=True)
    read = processor()
    torch.manual_seed(PLAN.seed)
    model = VisionEncoderDecoderModel(configuration(read))
    model.generation_config.max_new_tokens = 20
    model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id
    model.generation_config.eos_token_id = model.config.eos_token_id
    plan = replace(PLAN, minutes=arguments.minutes)
    outcome = train(model, loss_of, partial(batch_at, read=read), plan, scratch=arguments.scratch / NAME)
    folder = publishing.publish(model, read, plan, outcome, NAME)
    publishing.record(folder, shapes_evaluation.measure(folder))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
