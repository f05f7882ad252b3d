"""What is measured: the plain forward, the toolkit, and the way of full matrices that it replaces."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.inputs import prepare
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import stream_texts

NEEDS = needs_of(METRICS)


def plain(loaded: LoadedModel, texts: list[str]) -> None:
    """The model alone, on inputs tokenized as the toolkit does."""
    with torch.no_grad():
        loaded.model(**prepare(loaded, texts).inputs)


def toolkit(loaded: LoadedModel, texts: list[str]) -> list[dict[str, Tensor]]:
    """All metrics of all heads, per site and metric ``[text, head]``."""
    batch = next(iter(stream_texts(loaded, texts, NEEDS, batch_size=len(texts))))
    return [evaluate(statistics, METRICS) for statistics in batch.statistics]


def matrices(loaded: LoadedModel, text: str) -> list[dict[str, Tensor]]:
    """The same numbers from the model's full matrices (eager, ``output_attentions``), as one writes them by hand."""
    prepared = prepare(loaded, [text])
    with torch.no_grad():
        attentions = loaded.model(**prepared.inputs, output_attentions=True).attentions
    tokens = prepared.source[0]
    groups = {
        "special_weight": torch.tensor(tokens.is_special),
        "punctuation_weight": torch.tensor(tokens.is_punctuation),
    }
    return [_statistics(layer[0], groups) for layer in attentions]


def _statistics(weights: Tensor, groups: dict[str, Tensor]) -> dict[str, Tensor]:
    """Statistics of ``[head, query, key]``, every query counted; masked cells are zero."""
    size = weights.shape[-1]
    causal = bool((weights[:, 0, 1:] == 0).all()) and size > 1
    place = torch.arange(size)
    apart = (place - place[:, None]).abs().float()
    seen = place <= place[:, None] if causal else torch.ones(size, size, dtype=torch.bool)
    entropy = torch.special.entr(weights).sum(-1)
    visible = seen.sum(-1)
    received = weights.sum(1)
    shares = received / received.sum(-1, keepdim=True)
    diagonal = lambda offset: weights.diagonal(offset, 1, 2).mean(-1)  # noqa: E731
    return {
        "mean_weight": weights.sum((1, 2)) / visible.sum(),
        "max_weight": weights.amax((1, 2)),
        "min_weight": weights.masked_fill(~seen, torch.inf).amin((1, 2)),
        "entropy": entropy.mean(-1),
        "normalized_entropy": (entropy[:, visible > 1] / visible[visible > 1].log()).mean(-1),
        "effective_keys": entropy.exp().mean(-1),
        "confidence": weights.amax(-1).mean(-1),
        "distance": (weights * apart).sum(-1).mean(-1),
        "self_weight": diagonal(0),
        "previous_weight": diagonal(-1),
        "next_weight": diagonal(1),
        "first_weight": weights[..., 0].mean(-1),
        "local_weight": (weights * (apart <= 2)).sum(-1).mean(-1),
        "received_concentration": 1 - torch.special.entr(shares).sum(-1) / torch.tensor(float(size)).log(),
        **{name: weights[..., members].sum(-1).mean(-1) for name, members in groups.items()},
    }
