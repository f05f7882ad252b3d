"""Records without a model, for the viewer's tests."""

from __future__ import annotations

import torch

from attention_analyzer.captured import SiteRecord
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility


def query_key_weights(
    *, heads: int, queries: int, keys: int, channels: int, causal: bool, groups: int = 1, seed: int = 5
) -> QueryKeyWeights:
    """Weights with some structure: random queries and keys, scores of a few units."""
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(1, heads, queries, channels, generator=random)
    key = torch.randn(1, heads // groups, keys, channels, generator=random) + 0.7
    seen = Visibility(queries, keys, upper=0 if causal else None)
    return QueryKeyWeights(ScoreSource(query, key, scaling=2.0 / channels**0.5, visibility=seen))


def query_key_record(
    *, queries: int, layers: int = 2, heads: int = 2, channels: int = 8, causal: bool = True
) -> AttentionRecord:
    tokens = Tokens.of_pieces([f"t{index}" for index in range(queries)])
    entries = []
    for layer in range(layers):
        weights = query_key_weights(
            heads=heads, queries=queries, keys=queries, channels=channels, causal=causal, seed=layer
        )
        entries.append(SiteRecord(Site("decoder", "self", layer, heads), weights, tokens, tokens))
    return AttentionRecord(tuple(entries), model_name="random")


def translation_record(queries: int = 5, keys: int = 7) -> AttentionRecord:
    """An encoder, a decoder, and the decoder's cross-attention."""
    source = Tokens.of_pieces([f"quelle{index}" for index in range(keys)])
    target = Tokens.of_pieces([f"target{index}" for index in range(queries)])
    places = (
        ("encoder", "self", source, source),
        ("decoder", "self", target, target),
        ("decoder", "cross", target, source),
    )
    entries = tuple(
        SiteRecord(
            Site(stack, kind, layer, 2),
            query_key_weights(
                heads=2,
                queries=len(q),
                keys=len(k),
                channels=4,
                causal=(stack, kind) == ("decoder", "self"),
                seed=layer,
            ),
            q,
            k,
        )
        for stack, kind, q, k in places
        for layer in range(2)
    )
    return AttentionRecord(entries, model_name="translator")
