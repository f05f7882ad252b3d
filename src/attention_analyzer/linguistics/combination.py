"""How well do all heads together know the governors? The attention-only probe of Clark et al. (2019, §4.2).

The chance that word j governs word i is a softmax over j of ``Σ_k w_k a_k[i, j] + u_k a_k[j, i]``: one weight per head
and direction, nothing else. Weights are fitted on one half of the sentences and scored on the other, both ways. The
control is the same probe on relative positions instead of heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_analyzer.stats import share_interval
from attention_analyzer.text.annotation import AnnotatedText

Bools = NDArray[np.bool_]
#: Word pairs that are kept for fitting, shared by the halves: with 144 features 0.17 GB.
MOST_PAIRS = 300_000
#: The control tells offsets up to this apart; farther ones are one on either side.
_FARTHEST = 15
_STEPS = 60
_DECAY = 1e-4


@dataclass(frozen=True)
class Combination:
    """Unlabeled attachment score (share of governors found, roots aside), always on unseen sentences.

    Attributes:
        uas, low, high: of all heads together, with its 95 % interval; ``uas_words``: without punctuation.
        control: of the same probe on relative positions.
        dependents, sentences: how many were scored.
    """

    uas: float
    low: float
    high: float
    uas_words: float
    control: float
    dependents: int
    sentences: int


class CombinationProbe:
    """Collects word weights while sentences pass (:meth:`show`), then fits and scores."""

    def __init__(self, sentences: Sequence[AnnotatedText], seed: int = 0, most_pairs: int = MOST_PAIRS) -> None:
        self.sentences = sentences
        self.halves = np.random.default_rng(seed).permutation(len(sentences)) % 2
        self.features: dict[int, Tensor] = {}
        # Which sentences are kept is fixed beforehand and does not depend on their length's place in a batch.
        self.wanted: set[int] = set()
        pairs = 0
        for index in np.random.default_rng(seed).permutation(len(sentences)):
            cells = len(sentences[index]) ** 2
            if sentences[index].governors and pairs + cells <= most_pairs:
                self.wanted.add(int(index))
                pairs += cells

    def show(self, index: int, weights: Sequence[Tensor]) -> None:
        if index in self.wanted:
            both = [each for site in weights for each in (site, site.transpose(1, 2))]
            # [word, other word, feature]
            self.features[index] = torch.cat(both).permute(1, 2, 0).to(torch.float16)

    def result(self) -> Combination | None:
        """The scores, or None if a half has no dependents."""
        halves = [sorted(i for i in self.features if self.halves[i] == half) for half in (0, 1)]
        if not all(any(g is not None for i in half for g in self.sentences[i].governors) for half in halves):
            return None
        heads: list[Bools] = []
        control: list[Bools] = []
        sentence, words = [], []
        for fit, score in (halves, halves[::-1]):
            for found, feature in ((heads, self.features.__getitem__), (control, self._offsets)):
                learn, test = (_Pairs(self.sentences, half, feature) for half in (fit, score))
                found.append(test.correct(learn.fitted()))
            sentence.append(test.sentence)
            words.append(test.is_word)
        hits, owner = np.concatenate(heads), np.concatenate(sentence)
        low, high = share_interval(hits, owner)
        return Combination(
            uas=float(hits.mean()),
            low=low,
            high=high,
            uas_words=float(hits[np.concatenate(words)].mean()),
            control=float(np.concatenate(control).mean()),
            dependents=len(hits),
            sentences=len(np.unique(owner)),
        )

    def _offsets(self, index: int) -> Tensor:
        """One-hot relative positions, ``[word, other word, offset]``."""
        place = torch.arange(len(self.sentences[index]))
        apart = (place[None] - place[:, None]).clamp(-_FARTHEST, _FARTHEST) + _FARTHEST
        return torch.nn.functional.one_hot(apart, 2 * _FARTHEST + 1).to(torch.float16)


class _Pairs:
    """Dependents of some sentences with the features of all their possible governors, one row per pair."""

    def __init__(
        self, sentences: Sequence[AnnotatedText], indices: Sequence[int], feature: Callable[[int], Tensor]
    ) -> None:
        rows, owner, right = [], [], []
        sentence, is_word = [], []
        count = pairs = 0
        for index in indices:
            of_sentence = feature(index)
            size = len(sentences[index])
            for word, governor in enumerate(sentences[index].governors):
                if governor is None:
                    continue
                others = [other for other in range(size) if other != word]
                rows.append(of_sentence[word, others])
                owner.append(torch.full((size - 1,), count))
                right.append(pairs + others.index(governor))
                sentence.append(index)
                is_word.append(sentences[index].relations[word] != "punct")
                count, pairs = count + 1, pairs + size - 1
        self.rows = torch.cat(rows).float()
        self.owner = torch.cat(owner)
        self.right = torch.tensor(right)
        self.sentence = np.array(sentence, dtype=np.int64)
        self.is_word = np.array(is_word, dtype=bool)

    def _log_shares(self, scores: Tensor) -> Tensor:
        """Log softmax among the pairs of each dependent."""
        count = len(self.right)
        largest = scores.new_full((count,), -torch.inf).scatter_reduce(0, self.owner, scores.detach(), "amax")
        scores = scores - largest[self.owner]
        total = scores.new_zeros(count).index_add(0, self.owner, scores.exp())
        return scores - total.log()[self.owner]

    def fitted(self) -> Tensor:
        weights = torch.zeros(self.rows.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = -self._log_shares(self.rows @ weights)[self.right].mean() + _DECAY * weights.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)
        return weights.detach()

    def correct(self, weights: Tensor) -> Bools:
        """bool ``[dependent]``: whether the right governor has the highest score (the first of equals)."""
        scores = self.rows @ weights
        best = scores.new_full((len(self.right),), -torch.inf).scatter_reduce(0, self.owner, scores, "amax")
        is_best = (scores == best[self.owner]).nonzero()[:, 0]
        first = torch.full((len(self.right),), len(scores)).scatter_reduce(0, self.owner[is_best], is_best, "amin")
        return (first == self.right).numpy()
