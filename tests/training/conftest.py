"""A tiny model with dropout, and a training of it by the Trainer or by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from attention_analyzer.models.catalog import BUNDLED

LAYERS, HEADS = 2, 3
TEXTS = ["The cat sat on the mat, and the dog sat on the cat.", "A red book and a blue book lay on the table."]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BUNDLED / "demo-decoder")


def tiny_model(vocabulary: int, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=160, n_embd=6 * HEADS, n_layer=LAYERS, n_head=HEADS,
        resid_pdrop=0.2, embd_pdrop=0.2, attn_pdrop=0.2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def rows(tokenizer: Any, count: int = 16, length: int = 11) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, len(tokenizer), (count, length), generator=generator)
    return [{"input_ids": row, "labels": row} for row in ids]


def train_by_trainer(
    folder: Path, tokenizer: Any, tracker: Any = None, *, model: Any = None, resume: Any = None, **options: Any
) -> tuple[list[float], Any]:
    """The losses of each step, and the trainer."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        **{
            "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 4, "logging_steps": 1,
            "report_to": [], "use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "seed": 5,
            "learning_rate": 1e-2, "dataloader_pin_memory": False,
        }
        | options
    )  # fmt: skip
    trainer = Trainer(
        model or tiny_model(len(tokenizer)),
        arguments,
        train_dataset=rows(tokenizer),
        processing_class=tokenizer,
        callbacks=[tracker] if tracker is not None else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer
