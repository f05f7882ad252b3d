"""What a model predicts at every position of a text."""

from __future__ import annotations

import pandas as pd
import torch

from attention_analyzer.inputs import prepare
from attention_analyzer.mechanism.target import axis_of, logits_of, token_name
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokenization import Pair


def predictions(loaded: LoadedModel, text: str | Pair, *, truncate: bool = False) -> pd.DataFrame:
    """The most probable token at every position: ``position, token, predicted, number, probability``.

    Args:
        text: a text; a pair of texts, or source and target of an encoder–decoder.
        truncate: cut what the model has no positions for, instead of refusing it.

    Raises:
        UnsupportedModelError: the model has no language-model head.
    """
    prepared = prepare(loaded, [text], truncate=truncate)
    with loaded.evaluating() as model, torch.no_grad():
        logits = logits_of(loaded, model(**prepared.inputs))[0]
    probability, number = logits.float().softmax(-1).max(-1)
    pieces = axis_of(prepared).pieces
    return pd.DataFrame(
        {
            "position": range(len(pieces)),
            "token": pieces,
            "predicted": [token_name(loaded, each) for each in number.tolist()],
            "number": number.tolist(),
            "probability": probability.tolist(),
        }
    )
