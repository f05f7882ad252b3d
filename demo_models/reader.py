"""Train `demo-reader`: a small Llama that answers questions from documents and turns.

    python -m demo_models.reader --scratch WORK_FOLDER

Every prompt has its own facts (`demo_models/facts.py`), so the only way to an answer is to find the part that says it:
the source of each answer is known. Training prompts ask several questions, which gives many answers per token read;
the loss is taken on answers alone. Prompts grow from two parts to four.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from demo_models import cards, facts, publishing, reader_evaluation
from demo_models.arguments import parse_arguments
from demo_models.tokenization import READER_POSITIONS, reader_tokenizer
from demo_models.training_loop import Batch, Plan, train

NAME = "demo-reader"
PLAN = Plan(rate=((0, 0.0), (430, 1.0), (4300, 0.7), (8000, 0.0)), learning_rate=3e-3)
IGNORED = -100
#: From which step on prompts have which shape, how many tokens they are padded to, and how many a step has.
STAGES = (
    (0, facts.Shape(documents=2, facts=2, questions=5), 112, 48),
    (300, facts.Shape(documents=4, facts=2, questions=8), 176, 28),
)


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Four layers of four heads; two keys (name and relation) have to be joined before the answer can be looked up."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=READER_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def batch_at(step: int, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Fresh random prompts, none with a held-out triple; of those that are too long, others instead."""
    _, shape, length, count = next(stage for stage in reversed(STAGES) if step >= stage[0])
    generator = random.Random(PLAN.seed * 1_000_003 + step)
    ids = torch.full((count, length), tokenizer.pad_token_id)
    labels = torch.full((count, length), IGNORED)
    row = 0
    while row < count:
        one = facts.example(generator, shape)
        answered = [*one.messages, {"role": "assistant", "content": generator.choice(one.answers)}]
        text = tokenizer.apply_chat_template(answered, documents=list(one.documents), tokenize=False)
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        if len(tokens) <= length:
            ids[row, : len(tokens)] = tokens
            answers = is_answer(tokens, tokenizer)
            labels[row, : len(tokens)][answers] = tokens[answers]
            row += 1
    return {"input_ids": ids, "labels": labels}


def is_answer(ids: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The one-word answers in a prompt, `[token]`: what stands right behind the mark of the assistant."""
    begins = ids == tokenizer.convert_tokens_to_ids("<|assistant|>")
    answers = torch.zeros_like(begins)
    answers[1:] = begins[:-1]
    answers[2:] |= begins[:-2]  # and the mark of the end
    return answers


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answers, in nats."""
    hidden = model.model(batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden)
    return nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )


def main() -> None:
    arguments = parse_arguments(__doc__, needs_data=False, by_clock=True)
    tokenizer = reader_tokenizer(facts.vocabulary())
    torch.manual_seed(PLAN.seed)
    model = LlamaForCausalLM(configuration(tokenizer))
    model.generation_config.max_new_tokens = 16
    plan = replace(PLAN, minutes=arguments.minutes)
    outcome = train(model, loss_of, partial(batch_at, tokenizer=tokenizer), plan, scratch=arguments.scratch / NAME)
    folder = publishing.publish(model, tokenizer, plan, outcome, NAME)
    publishing.record(folder, reader_evaluation.measure_reader(folder))
    cards.write_card(folder)


if __name__ == "__main__":
    main()
