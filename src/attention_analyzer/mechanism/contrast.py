"""Which directions of queries and keys tell chosen pairs of tokens from others, each tried by removing it.

The mean of ``scale · q kᵀ`` over chosen pairs, less its mean over the other keys that the same queries see, is the
contrastive covariance C of a head. Its trace is how much higher chosen pairs score. A direction u of queries and keys
has the part ``uᵀ C u`` of that, so the directions that have most of it are the first eigenvectors of ``(C + Cᵀ) / 2``.
They are found on every second text.

On the other texts a direction is removed from the head's queries, ``q - u ⟨u, q⟩``, and the head's weights are computed
again. What comes before the head is unchanged by that, so these are the weights that the model would compute. Random
directions are removed for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, OnError, SelectionError, UnsupportedModelError
from attention_analyzer.inputs import Text, prepare
from attention_analyzer.mechanism.contrast_result import ContrastDirections
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import run
from attention_analyzer.site import from_end, is_layer
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.usable_texts import usable_texts
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource

#: Pairs ``(query, key)`` of token positions.
TokenPairs: TypeAlias = Iterable[tuple[int, int]]
PairsOfText: TypeAlias = TokenPairs | Callable[[Tokens], TokenPairs]
FEWEST_TEXTS = 4


def contrast(
    loaded: LoadedModel,
    texts: Sequence[Text],
    pairs: Sequence[PairsOfText] | Callable[[Tokens], TokenPairs],
    layer: int,
    head: int,
    *,
    directions: int = 3,
    controls: int = 20,
    stack: str | None = None,
    seed: int = 0,
    truncate: bool = False,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> ContrastDirections:
    """The directions by which a head's self-attention tells chosen pairs from others, each checked by removing it.

    Args:
        texts: at least four; every second one is held out.
        pairs: for each text, ``(query, key)`` positions of tokens, or a function of a text's tokens that returns
            them; or one function for all texts. :func:`token_pairs` makes one of an annotated text.
        layer, head: which head, counted from zero; negative numbers, as in pairs, count from the end.
        directions: how many.
        controls: how many random directions are removed for comparison.
        stack: of the head where layers are not unique.
        seed: of the random directions.
        truncate: cut what the model has no positions for, instead of refusing it.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        progress: called with how many texts are read and how many there are.

    Raises:
        InputError: too few texts with pairs, or a pair outside of its text.
        SelectionError: there is no such head.
        UnsupportedModelError: the head's queries cannot be seen.
    """
    if directions < 1 or controls < 2:
        raise InputError(f"At least one direction and two controls are needed, not {directions} and {controls}.")
    if not callable(pairs) and len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts and the pairs of {len(pairs)} were given; give one list of pairs a text.")
    kept = usable_texts(loaded, texts, errors=errors, truncate=truncate)
    texts, pairs = kept.texts, pairs if callable(pairs) else [pairs[index] for index in kept.indices]
    seen = []
    for number, text in enumerate(texts):
        chosen = pairs if callable(pairs) else pairs[number]
        found = _read(loaded, text, chosen, (layer, head, stack), kept.indices[number], truncate)
        seen += [found] if found is not None else []
        if progress is not None:
            progress(number + 1, len(texts))
    if len(seen) < FEWEST_TEXTS:
        raise InputError(
            f"{len(seen)} texts have pairs that the head could tell from others; at least {FEWEST_TEXTS} are needed, "
            "half of which are held out."
        )
    found_on, held_out = seen[::2], seen[1::2]
    covariance = torch.stack([text.covariance for text in found_on]).mean(0)
    strength, left = (part.flip(-1) for part in torch.linalg.eigh((covariance + covariance.T) / 2))
    count = min(directions, len(strength))
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randn(len(strength), controls, generator=generator, dtype=torch.float64)
    random = torch.linalg.qr(chance).Q if controls <= len(strength) else chance / chance.norm(dim=0)
    rows = []
    whole = np.array([text.weight() for text in held_out])
    dropped = whole[:, None] - np.array([[text.weight(each[:, None]) for each in random.T] for text in held_out])
    for number in range(count + (count > 1)):
        together = number == count
        basis = left[:, :count] if together else left[:, number : number + 1]
        drop = whole - np.array([text.weight(basis) for text in held_out])
        low, high = bootstrap_interval((drop - dropped.mean(1))[:, None])
        gaps = [text.gap() for text in held_out]
        left_over = [text.gap(basis) for text in held_out]
        rows.append(
            {
                "direction": f"1 to {count}" if together else str(number + 1),
                "strength": float(strength[:count].sum() if together else strength[number]),
                "gap": float(1 - np.sum(left_over) / np.sum(gaps)) if np.sum(gaps) else float("nan"),
                "weight": float(whole.mean()),
                "removed": float((whole - drop).mean()),
                "random": float((whole - dropped.mean(1)).mean()),
                "low": float(low[0]),
                "high": float(high[0]),
            }
        )
    result = ContrastDirections(
        table=pd.DataFrame(rows),
        directions=left[:, :count].T.numpy(),
        spectrum=strength.numpy().copy(),
        gap=float(np.mean([text.gap() for text in held_out])),
        random_drops=tuple(dropped.mean(0).tolist()),
        head=seen[0].name,
        texts=(len(found_on), len(held_out)),
        model_name=loaded.name,
    )
    return kept.noted(result)


@dataclass(frozen=True)
class _Seen:
    """One head on one text.

    Attributes:
        source: of the layer's scores, on the CPU.
        chosen: bool ``[query, key]``; ``others``: what else those queries see.
    """

    source: ScoreSource
    head: int
    chosen: Tensor
    others: Tensor
    name: str

    @property
    def query(self) -> Tensor:
        """float64 ``[query, channel]``."""
        return self.source.query[0, self.head].double()

    @property
    def key(self) -> Tensor:
        """float64 ``[key, channel]``; heads of a group share theirs."""
        return self.source.key[0, self.head // (self.source.heads // self.source.key.shape[1])].double()

    @property
    def covariance(self) -> Tensor:
        """``[query channel, key channel]``: its trace is :meth:`gap`."""
        return self.source.scaling * self.query.T @ self._contrast() @ self.key

    def gap(self, removed: Tensor | None = None) -> float:
        """How much higher the chosen pairs score than the others, before a soft cap and a bias."""
        scores = self.source.scaling * _without(self.query, removed) @ self.key.T
        return float((scores * self._contrast()).sum())

    def weight(self, removed: Tensor | None = None) -> float:
        """The mean weight of the chosen pairs."""
        query = self.source.query.clone()
        query[0, self.head] = _without(self.query, removed).to(query.dtype)
        mine = slice(self.head, self.head + 1)
        weights = QueryKeyWeights(replace(self.source, query=query)).tile(0, mine, slice(0, query.shape[2]))[0]
        return float(weights[self.chosen].double().mean())

    def _contrast(self) -> Tensor:
        """What each cell counts: chosen pairs alike, and against each the other keys of its query."""
        chosen = self.chosen.double()
        others = self.others.double()
        per_query = others / others.sum(1, keepdim=True).clamp(min=1)
        return (chosen - chosen.sum(1, keepdim=True) * per_query) / chosen.sum()


def _without(query: Tensor, removed: Tensor | None) -> Tensor:
    """Queries without the part that lies in orthonormal directions ``[channel, direction]``."""
    return query if removed is None else query - (query @ removed) @ removed.T


def token_pairs(annotated: AnnotatedText) -> Callable[[Tokens], TokenPairs]:
    """The pairs of an annotated text in tokens: every token of a pair's first words with every one of its second."""

    def of_tokens(tokens: Tokens) -> TokenPairs:
        words = words_of_tokens(tokens, annotated.spans)
        places: dict[int, list[int]] = {}
        for at, word in enumerate(words):
            if word is not None:
                places.setdefault(word, []).append(at)
        for pair in annotated.pairs:
            starts, ends = ([at for word in side for at in places.get(word, ())] for side in (pair.start, pair.end))
            yield from product(starts, ends)

    return of_tokens


def _read(
    loaded: LoadedModel,
    text: Text,
    pairs: PairsOfText,
    place: tuple[int, int, str | None],
    number: int,
    truncate: bool,
) -> _Seen | None:
    """The head on a text; None where none of its queries has both a chosen and another key."""
    layer, head, stack = place
    prepared = prepare(loaded, [text], truncate=truncate)
    every = run(loaded, prepared).sites
    known = [site for site, _ in every]
    sites = [
        (site, weights)
        for site, weights in every
        if site.kind == "self" and is_layer(site, layer, known) and stack in (None, site.stack)
    ]
    if not sites or from_end(head, sites[0][0].heads) < 0:
        raise SelectionError(f"There is no head {head} in layer {layer}; check the numbers with attn scan.")
    site, weights = sites[0]
    head = from_end(head, site.heads)
    if not isinstance(weights, QueryKeyWeights):
        raise UnsupportedModelError(
            f"{site.module} computes its attention outside of transformers' attention interface, so its queries and "
            "keys cannot be seen."
        )
    tokens = prepared.axes(site.stack, site.kind)[0][0]
    source = weights.source.to("cpu")
    chosen = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    for pair in pairs(tokens) if callable(pairs) else pairs:
        at = tuple(from_end(int(each), len(tokens)) for each in pair)
        if len(at) != 2 or min(at) < 0:
            raise InputError(
                f"Text {number} has the pair {pair!r}, but its tokens are numbered 0 to {len(tokens) - 1}."
            )
        chosen[at] = True
    everything = slice(0, len(tokens))
    visible = source.visibility.seen(everything, everything, slice(0, 1), torch.device("cpu"))
    seen = torch.ones_like(chosen) if visible is None else visible[0, head % visible.shape[1]].expand_as(chosen)
    chosen &= seen
    others = seen & ~chosen & chosen.any(1, keepdim=True)
    chosen &= others.any(1, keepdim=True)
    return _Seen(source, head, chosen, others, f"L{site.layer}H{head}") if bool(chosen.any()) else None
