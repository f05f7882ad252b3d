"""Where does each head look to? Questions about words, answered by every head in one pass over the sentences.

Words are made of pieces as Clark et al. (2019, §4.1) do: the weights *to* a word's pieces are summed, those *from* its
pieces averaged. Special tokens and the asking words themselves cannot be an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import batches, run
from attention_analyzer.site import Site
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.weights.base import AttentionWeights

#: Sentences that run together; they are sorted by length, so hardly anything is padding.
BATCH = 32

Show = Callable[[int, Sequence[Tensor]], None]


@dataclass(frozen=True)
class Question:
    """Which word does this word look at most?

    Attributes:
        sentence: index of the sentence.
        word: the word that asks; for a span, the word that stands for it.
        answers: words that are right.
        labels: what the question counts for ("nsubj", "subject–verb", "all").
        direction: what looks at what ("dependent→governor"), to show.
        received: False: which word does it look at most; True: which word looks at *it* most.
        words: all words of the asking span; their weights are averaged.
        candidates: words that may be the answer; None for all but the asking ones.
    """

    sentence: int
    word: int
    answers: frozenset[int]
    labels: tuple[str, ...]
    direction: str = ""
    received: bool = False
    words: tuple[int, ...] = ()
    candidates: tuple[int, ...] | None = None

    @property
    def asking(self) -> tuple[int, ...]:
        return self.words or (self.word,)


@dataclass(frozen=True)
class Answers:
    """What every head answered.

    Attributes:
        heads: site and head of each column.
        words: int16 ``[question, head]``, the word the head looks at most; -1 where it looks at no other word (a causal
            head's first word).
        seen: bool ``[question]``; False where a word of the question has no token of its own, or its sentence is left
            out.
        left_out: sentences that the model has no positions for.
    """

    heads: tuple[tuple[Site, int], ...]
    words: NDArray[np.int16]
    seen: NDArray[np.bool_]
    left_out: tuple[int, ...] = ()


def ask(
    loaded: LoadedModel,
    sentences: Sequence[AnnotatedText],
    questions: Sequence[Question],
    *,
    show: Show | None = None,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Every head's answer to every question, in one forward per sentence.

    Args:
        show: called with each sentence's index and its word weights, ``[head, word, word]`` per site.
        progress: called with the number of sentences done since the last call.

    Raises:
        InputError: there is no sentence, or no self-attention over the text.
    """
    if not sentences:
        raise InputError("There is no annotated sentence to analyze; the file is empty or everything was left out.")
    asked: list[list[int]] = [[] for _ in sentences]
    for number, question in enumerate(questions):
        asked[question.sentence].append(number)
    words: NDArray[np.int16] | None = None
    heads: tuple[tuple[Site, int], ...] = ()
    seen = np.zeros(len(questions), dtype=bool)
    left_out: list[int] = []
    for batch in _batches(loaded, sentences, left_out):
        owners, sites, weights = _word_weights(loaded, [sentences[index] for index in batch])
        if words is None:
            heads = tuple((site, head) for site in sites for head in range(site.heads))
            words = np.full((len(questions), len(heads)), -1, dtype=np.int16)
        for row, index in enumerate(batch):
            if show is not None:
                show(index, weights[row])
            numbers = asked[index]
            if numbers:
                form = _Form([questions[number] for number in numbers], len(sentences[index]))
                words[numbers] = np.concatenate([form.answer(site).numpy() for site in weights[row]], axis=1)
                present = {word for word in owners[row] if word is not None}
                seen[numbers] = [_is_seen(questions[number], present) for number in numbers]
        if progress is not None:
            progress(len(batch))
    if words is None:
        raise InputError("The model has positions for none of the sentences; they are all too long.")
    return Answers(heads, words, seen, tuple(sorted(left_out)))


class _Form:
    """The questions about one sentence, as matrices."""

    def __init__(self, questions: Sequence[Question], size: int) -> None:
        self.size = size
        self.asking = torch.zeros(len(questions), size)
        self.allowed = torch.ones(len(questions), size, dtype=torch.bool)
        self.received = torch.tensor([question.received for question in questions])
        for row, question in enumerate(questions):
            if question.candidates is not None:
                self.allowed[row] = False
                self.allowed[row, list(question.candidates)] = True
            words = list(question.asking)
            self.asking[row, words] = 1 / len(words)
            self.allowed[row, words] = False

    def answer(self, weights: Tensor) -> Tensor:
        """int16 ``[question, head]`` from word weights ``[head, word, word]``."""
        result = torch.full((len(self.asking), len(weights)), -1, dtype=torch.int16)
        for received in (False, True):
            rows = (self.received == received).nonzero()[:, 0]
            if len(rows):
                matrix = weights.transpose(1, 2) if received else weights
                looks = (self.asking[rows] @ matrix).masked_fill(~self.allowed[rows], 0)
                largest, word = looks.max(-1)
                result[rows] = torch.where(largest > 0, word, -1).T.to(torch.int16)
        return result


def _is_seen(question: Question, present: set[int]) -> bool:
    return question.word in present and bool(question.answers & present)


def _batches(loaded: LoadedModel, sentences: Sequence[AnnotatedText], left_out: list[int]) -> Iterable[list[int]]:
    """Indices of sentences of about the same length; those that are too long are entered in ``left_out``."""
    tokenizer = loaded.need_tokenizer()
    lengths = [len(ids) for ids in tokenizer([s.text for s in sentences], verbose=False)["input_ids"]]
    limit = loaded.max_length
    fitting = [index for index, length in enumerate(lengths) if limit is None or length <= limit]
    left_out += sorted(set(range(len(sentences))) - set(fitting))
    order = sorted(fitting, key=lambda index: lengths[index])
    yield from batches(order, loaded.at_once(BATCH))


def _word_weights(
    loaded: LoadedModel, sentences: Sequence[AnnotatedText]
) -> tuple[list[tuple[int | None, ...]], list[Site], list[list[Tensor]]]:
    """Per sentence, its tokens' words and the word weights ``[head, word, word]`` of every self-attention site."""
    prepared = prepare(loaded, [sentence.text for sentence in sentences])
    owners = [
        words_of_tokens(tokens, sentence.spans) for tokens, sentence in zip(prepared.source, sentences, strict=True)
    ]
    sums = [_membership(owner, len(sentence)) for owner, sentence in zip(owners, sentences, strict=True)]
    means = [each / each.sum(1, keepdim=True).clamp(min=1) for each in sums]

    def keep(place: CallSite, weights: AttentionWeights) -> list[Tensor] | None:
        if prepared.axes(place.stack, place.kind) != (prepared.source, prepared.source):
            return None
        result = []
        for index, tokens in enumerate(prepared.source):
            length = len(tokens)
            tile = weights.tile(index, slice(0, weights.heads), slice(0, length))[..., :length]
            result.append(means[index] @ (tile.float().cpu() @ sums[index].T))
        return result

    forward = run(loaded, prepared, keep=keep)
    kept = [(site, tiles) for site, tiles in forward.sites if tiles is not None]
    if not kept:
        raise InputError(f"{loaded.name} has no self-attention over the text that could be asked about its words.")
    return owners, [site for site, _ in kept], [[tiles[row] for _, tiles in kept] for row in range(len(sentences))]


def _membership(owner: Sequence[int | None], words: int) -> Tensor:
    """float ``[word, token]``: 1 where the token is a piece of the word."""
    matrix = torch.zeros(words, len(owner))
    for token, word in enumerate(owner):
        if word is not None:
            matrix[word, token] = 1
    return matrix
