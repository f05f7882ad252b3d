"""The numbers on the reader's card: right answers on held-out facts, by kind and number of parts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from demo_models import facts

PROMPTS = 500
PARTS = (2, 3, 4)


def held_out(count: int, seed: int, documents: int, kind: str | None = None) -> list[facts.Example]:
    """Prompts with one question whose facts no training prompt has."""
    generator = random.Random(seed)
    shape = facts.Shape(documents=documents, held_out=True)
    found: list[facts.Example] = []
    while len(found) < count:
        one = facts.example(generator, shape, kind)
        if kind is None or one.kind == kind:
            found.append(one)
    return found


def answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, one: facts.Example) -> str:
    """The model's first word."""
    inputs = tokenizer.apply_chat_template(
        list(one.messages),
        documents=list(one.documents),
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        return str(tokenizer.decode(model(inputs["input_ids"]).logits[0, -1].argmax()))


def measure_reader(folder: Path) -> dict[str, Any]:
    """Share of right answers on held-out prompts: of all kinds mixed, and of each kind and size."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def right(examples: list[facts.Example]) -> float:
        return sum(answer(model, tokenizer, one) in one.answers for one in examples) / len(examples)

    return {
        "prompts": PROMPTS,
        "right": right(held_out(PROMPTS, 1, max(PARTS))),
        "right_by_kind": {
            kind: {str(parts): right(held_out(PROMPTS // 5, 2, parts, kind)) for parts in PARTS} for kind in facts.KINDS
        },
    }
