"""Rows of text for the encoder, and the pieces hidden in them."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from demo_models.training_loop import Batch

MASKED_SHARE = 0.2
IGNORED = -100


def framed(windows: np.ndarray, tokenizer: PreTrainedTokenizerFast, end_with_sentence: bool) -> np.ndarray:
    """`[CLS] … [SEP]` rows; on request each is cut after its last whole sentence and padded."""
    count, length = windows.shape
    rows = np.full((count, length + 2), tokenizer.pad_token_id)
    rows[:, 0] = tokenizer.cls_token_id
    marks = tokenizer.convert_tokens_to_ids([".", "!", "?"])
    for row, window in zip(rows, windows, strict=True):
        ends = np.flatnonzero(np.isin(window, marks)) + 1
        size = int(ends[-1]) if end_with_sentence and len(ends) else length
        row[1 : size + 1] = window[:size]
        row[size + 1] = tokenizer.sep_token_id
    return rows


def masked(rows: np.ndarray, tokenizer: PreTrainedTokenizerFast, generator: np.random.Generator) -> Batch:
    """Hide a share of the words' pieces: 80 % as `[MASK]`, 10 % as a random piece, 10 % as is.

    `places` are the hidden positions of the flattened rows and `labels` the pieces that were
    there. Both have a fixed size, so that the compiled step sees one shape per window length.
    """
    inputs = rows.copy().reshape(-1)
    eligible = np.flatnonzero(~np.isin(inputs, tokenizer.all_special_ids))
    chosen = generator.choice(eligible, size=int(MASKED_SHARE * len(eligible)), replace=False)
    places = np.zeros(int(MASKED_SHARE * inputs.size), dtype=np.int64)
    labels = np.full(len(places), IGNORED)
    places[: len(chosen)] = chosen
    labels[: len(chosen)] = inputs[chosen]
    fate = generator.random(len(chosen))
    inputs[chosen[fate < 0.8]] = tokenizer.mask_token_id
    swapped = chosen[fate >= 0.9]
    inputs[swapped] = generator.integers(len(tokenizer.all_special_ids), len(tokenizer), size=len(swapped))
    return {
        "input_ids": torch.from_numpy(inputs.reshape(rows.shape)),
        "attention_mask": torch.from_numpy((rows != tokenizer.pad_token_id).astype(np.int64)),
        "places": torch.from_numpy(places),
        "labels": torch.from_numpy(labels),
    }
