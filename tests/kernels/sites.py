"""Attention sites of every form, and their weights the slow way, in float64 and one head at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st

from attention_analyzer.weights.bias import DenseBias, RelativeBias
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from tests.reference import Head

GROUPS = ("first", "special", "separator", "punctuation")


@dataclass(frozen=True)
class SiteCase:
    """A site, and the frame that a pass over it is asked with."""

    source: ScoreSource
    diagonal: int | None
    valid: torch.Tensor | None
    key_valid: torch.Tensor | None
    groups: dict[str, torch.Tensor]
    labels: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    @property
    def frame(self) -> dict:
        return {
            "diagonal": self.diagonal,
            "valid": self.valid,
            "key_valid": self.key_valid,
            "groups": self.groups,
            "labels": self.labels,
        }

    def head(self, text: int, head: int) -> Head:
        """One head for the slow reference."""
        source = self.source
        query = source.query[text, head].double().numpy()
        key = source.key[text, head // (source.heads // source.key.shape[1])].double().numpy()
        scores = query @ key.T * source.scaling
        if source.softcap is not None:
            scores = np.tanh(scores / source.softcap) * source.softcap
        if source.bias is not None:
            bias = source.bias.dense().double().numpy()
            scores = scores + bias[min(text, bias.shape[0] - 1), min(head, bias.shape[1] - 1)]
        sees = self.sees(text, head)
        weights = np.zeros_like(scores)
        for i in range(len(scores)):
            if not sees[i].any():
                continue
            top = scores[i][sees[i]].max()
            parts = np.where(sees[i], np.exp(scores[i] - top), 0)
            total = parts.sum()
            if source.sinks is not None:
                sink = source.sinks[head] if source.sinks.dim() == 1 else source.sinks[text, head, i]
                total += np.exp(float(sink) - top)
            weights[i] = parts / total
        every = lambda flags, size: np.ones(size, bool) if flags is None else flags[min(text, len(flags) - 1)].numpy()  # noqa: E731
        return Head(
            weights=weights,
            sees=sees,
            counts=every(self.valid, source.queries),
            real=every(self.key_valid, source.keys),
            diagonal=self.diagonal,
            groups={name: every(flags, source.keys) for name, flags in self.groups.items()},
        )

    def sees(self, text: int, head: int) -> np.ndarray:
        seen = self.source.visibility
        found = np.ones((seen.queries, seen.keys), bool)
        for i in range(seen.queries):
            for j in range(seen.keys):
                found[i, j] = (seen.lower is None or j - i >= seen.lower) and (
                    seen.upper is None or j - i <= seen.upper
                )
                if seen.key_seen is not None:
                    found[i, j] &= bool(seen.key_seen[text, j])
                if seen.segments is not None:
                    found[i, j] &= bool(seen.segments[0][text, i] == seen.segments[1][text, j])
                if seen.mask is not None:
                    mask = seen.mask
                    found[i, j] &= bool(mask[min(text, mask.shape[0] - 1), min(head, mask.shape[1] - 1), i, j])
        return found


@st.composite
def sites(draw: st.DrawFn, largest: int = 17, half: bool = False) -> SiteCase:
    """Any site: grouped heads, bands, padding on either side, segments, masks, biases, softcaps, sinks.

    Args:
        largest: most queries.
        half: whether queries and keys may be in half precision.
    """
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    randn = lambda *shape: torch.randn(*shape, generator=numbers)  # noqa: E731
    flags = lambda *shape: torch.rand(*shape, generator=numbers) < 0.6  # noqa: E731
    batch, key_heads, group = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (2, 3, 1), (3, 1, 2)]))
    heads = key_heads * group
    queries = draw(st.integers(1, largest))
    keys = queries + draw(st.sampled_from([0, 0, 3]))
    channels = draw(st.sampled_from([1, 5, 8]))
    diagonal = draw(st.sampled_from([keys - queries, keys - queries, 0, None]))
    shift = keys - queries
    lower, upper = draw(st.sampled_from([(None, None), (None, shift), (shift - 4, shift), (shift - 2, shift + 3)]))
    valid = key_valid = key_seen = None
    if keys == queries and draw(st.booleans()):
        length = torch.randint(1, queries + 1, (batch, 1), generator=numbers)
        places = torch.arange(queries)[None]
        valid = places < length if draw(st.booleans()) else places >= queries - length
        key_valid = key_seen = valid
    segments = None
    if draw(st.integers(0, 3)) == 0:
        segments = (
            torch.randint(0, 2, (batch, queries), generator=numbers),
            torch.randint(0, 2, (batch, keys), generator=numbers),
        )
    mask = None
    if draw(st.integers(0, 3)) == 0:
        mask = flags(draw(st.sampled_from([1, batch])), heads, queries, keys)
    elif draw(st.integers(0, 3)) == 0:
        mask = flags(draw(st.sampled_from([1, batch])), 1, queries, keys)
    kind = draw(st.sampled_from(["none", "none", "dense", "relative"]))
    bias: DenseBias | RelativeBias | None = None
    if kind == "dense":
        bias = DenseBias(randn(draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, heads])), queries, keys))
    elif kind == "relative":
        bias = RelativeBias(randn(draw(st.sampled_from([1, heads])), queries + keys - 1), queries - 1, queries, keys)
    sinks = draw(st.sampled_from([None, None, "head", "query"]))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])) if half else torch.float32
    # As models hand them over: heads are a view into one projection.
    query = (randn(batch, queries, heads, channels) * draw(st.sampled_from([0.1, 1.0, 4.0]))).transpose(1, 2)
    key = randn(batch, keys, key_heads, channels).transpose(1, 2)
    source = ScoreSource(
        query=query.to(dtype),
        key=key.to(dtype),
        scaling=channels**-0.5,
        visibility=Visibility(queries, keys, lower, upper, key_seen, segments, mask),
        softcap=draw(st.sampled_from([None, None, 2.5])),
        bias=bias,
        sinks={None: None, "head": randn(heads), "query": randn(batch, heads, queries)}[sinks],
    )
    groups = {name: flags(draw(st.sampled_from([1, batch])), keys) for name in GROUPS}
    groups["first"] = torch.arange(keys)[None] == 0
    labels = {
        name: tuple(torch.randint(-1, most, (texts, size), generator=numbers) for size in (queries, keys))
        for name, most, texts in (("few", 2, 1), ("many", 9, batch))
    }
    return SiteCase(source, diagonal, valid, key_valid, groups, labels)


def long_case(
    queries: int,
    *,
    seed: int = 0,
    keys: int | None = None,
    channels: int = 24,
    dtype: torch.dtype = torch.float32,
    **visibility: int,
) -> SiteCase:
    """A text longer than a tile, its heads in groups."""
    numbers = torch.Generator().manual_seed(seed)
    keys = queries if keys is None else keys
    source = ScoreSource(
        query=(torch.randn(1, 4, queries, channels, generator=numbers) * 2).to(dtype),
        key=torch.randn(1, 2, keys, channels, generator=numbers).to(dtype),
        scaling=0.3,
        visibility=Visibility(queries, keys, **visibility),
    )
    groups = {
        name: torch.rand(1, keys, generator=numbers) < share
        for name, share in zip(GROUPS, (0.01, 0.5, 0.2, 0), strict=True)
    }
    labels = {
        name: tuple(torch.randint(-1, most, (1, size), generator=numbers) for size in (queries, keys))
        for name, most in (("few", 2), ("many", 300))
    }
    return SiteCase(source, keys - queries, None, None, groups, labels)
