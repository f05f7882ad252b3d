"""Analyses of many texts that are given as ids: the same as of the texts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError

TEXTS = [
    "The door of the old house was red. The boy went to the door of the old house.",
    "One day a girl named Sue saw a big tree near the house.",
    "Tom had a dog. The dog was happy. Tom and the dog went home.",
    "The sun was high and the birds sang in the big tree.",
]


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def padded(analyzer: AttentionAnalyzer) -> dict[str, torch.Tensor]:
    encoded = [analyzer.tokenizer(text)["input_ids"] for text in TEXTS]
    size = max(map(len, encoded))
    ids = torch.tensor([[*[0] * (size - len(row)), *row] for row in encoded])
    mask = torch.tensor([[*[0] * (size - len(row)), *[1] * len(row)] for row in encoded])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(
    ("method", "options", "table"),
    [
        ("label_heads", {"probes": False}, "table"),
        ("similarity", {}, "table"),
        ("depth_profile", {}, "heads"),
        ("head_importance", {}, "table"),
        ("pruning_curve", {"shares": (0, 0.5)}, "table"),
        ("cache_advice", {"first": (1,), "last": (4,)}, "table"),
    ],
)
def test_ids_give_what_the_texts_give(
    analyzer: AttentionAnalyzer, padded: dict[str, Any], method: str, options: dict[str, Any], table: str
) -> None:
    call = getattr(analyzer, method)
    by_text, by_ids = call(TEXTS, **options), call(inputs=padded, **options)
    pd.testing.assert_frame_equal(getattr(by_text, table), getattr(by_ids, table), rtol=1e-4, atol=1e-5)


def test_head_tables_of_ids(analyzer: AttentionAnalyzer, padded: dict[str, Any]) -> None:
    pd.testing.assert_frame_equal(analyzer.heads(TEXTS), analyzer.heads(inputs=padded), rtol=1e-4, atol=1e-5)


def test_texts_or_inputs_but_not_both(analyzer: AttentionAnalyzer, padded: dict[str, Any]) -> None:
    for arguments in ({}, {"texts": TEXTS, "inputs": padded}):
        with pytest.raises(InputError, match="either texts or inputs"):
            analyzer.similarity(**arguments)
