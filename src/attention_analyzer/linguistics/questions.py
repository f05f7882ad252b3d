"""Where does each head look to? Questions about words, answered by every head in one pass over the sentences.

Words are made of pieces as Clark et al. (2019, §4.1) do: the weights *to* a word's pieces are summed, those *from* its
pieces averaged. Special tokens and the asking words themselves cannot be an answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.inputs import Prepared
from attention_analyzer.linguistics.combination import CombinationProbe
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import Array, State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights

#: Sentences that run together; they are sorted by length, so hardly anything is padding.
BATCH = 32


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


@dataclass(frozen=True)
class WordAnswers(Study[Answers]):
    """Every head's answer to questions about annotated sentences, which are the texts of the run, in their order.

    The state has the answers to the questions of each sentence, and the word weights of some sentences.

    Attributes:
        sentences: those of the run; a question's ``sentence`` is an index to them.
        questions: about them.
        kept: sentences whose word weights are kept, for :class:`.combination.CombinationProbe`.
    """

    sentences: Sequence[AnnotatedText] = ()
    questions: Sequence[Question] = ()
    kept: frozenset[int] = frozenset()

    @property
    def settings(self) -> str:
        sentences = [(sentence.text, sentence.spans) for sentence in self.sentences]
        asked = [
            (each.sentence, each.asking, sorted(each.answers), each.received, each.candidates)
            for each in self.questions
        ]
        return repr(("word answers", sentences, asked, sorted(self.kept)))

    @cached_property
    def by_sentence(self) -> list[list[int]]:
        """The numbers of each sentence's questions."""
        asked: list[list[int]] = [[] for _ in self.sentences]
        for number, question in enumerate(self.questions):
            asked[question.sentence].append(number)
        return asked

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        def measure(stack: str, kind: Kind, weights: AttentionWeights) -> list[Tensor] | None:
            if prepared.axes(stack, kind) != (prepared.source, prepared.source):
                return None
            return [
                weights.tile(index, slice(0, weights.heads), slice(0, len(tokens)))[..., : len(tokens)].float().cpu()
                for index, tokens in enumerate(prepared.source)
            ]

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is not None:
            of_text = [(site, tiles) for site, tiles in batch.sites if tiles is not None]
            texts = [
                (tokens, [(site, tiles[row]) for site, tiles in of_text])
                for row, tokens in enumerate(batch.prepared.source)
            ]
        else:
            texts = [
                (
                    record.tokens,
                    [
                        (entry.site, entry.weights[:].float().cpu())
                        for entry in record.entries
                        if entry.queries == entry.keys == record.tokens
                    ],
                )
                for record in batch.records
            ]
        if not all(sites for _, sites in texts):
            raise InputError(f"{loaded.name} has no self-attention over the text that can be tested on words.")
        return State.merge(
            [self._of_sentence(number, *each) for number, each in zip(batch.numbers, texts, strict=True)]
        )

    def result(self, loaded: LoadedModel, state: State) -> Answers:
        heads = tuple((site, head) for site in state.sites for head in range(site.heads))
        order = np.array([number for numbers in self.by_sentence for number in numbers], dtype=np.int64)
        words = np.full((len(self.questions), len(heads)), -1, dtype=np.int16)
        seen = np.zeros(len(self.questions), dtype=bool)
        words[order], seen[order] = state.arrays["words"], state.arrays["seen"]
        return Answers(heads, words, seen)

    def kept_weights(self, state: State) -> Iterator[tuple[int, Tensor]]:
        """The kept sentences with their word weights, float16 ``[word, other word, head and direction]``."""
        start = 0
        for index in sorted(self.kept):
            size = len(self.sentences[index])
            cells = state.arrays["weights"][start : start + size**2]
            yield index, torch.from_numpy(cells).view(size, size, -1)
            start += size**2

    def _of_sentence(self, index: int, tokens: Tokens, sites: Sequence[tuple[Site, Tensor]]) -> State:
        if index >= len(self.sentences):
            raise InputError(
                f"The questions are about {len(self.sentences)} sentences, but the run has more texts; "
                "pass the texts of these sentences."
            )
        sentence, asked = self.sentences[index], [self.questions[number] for number in self.by_sentence[index]]
        owner = words_of_tokens(tokens, sentence.spans)
        sums = _membership(owner, len(sentence))
        means = sums / sums.sum(1, keepdim=True).clamp(min=1)
        weights = [means @ (tile @ sums.T) for _, tile in sites]
        form = _Form(asked, len(sentence))
        present = {word for word in owner if word is not None}
        arrays: dict[str, Array] = {
            "words": np.concatenate([form.answer(site).numpy() for site in weights], axis=1),
            "seen": np.array([_is_seen(question, present) for question in asked], dtype=bool),
        }
        if index in self.kept:
            both = torch.cat([each for site in weights for each in (site, site.transpose(1, 2))])
            arrays["weights"] = both.permute(1, 2, 0).flatten(0, 1).to(torch.float16).numpy()
        return State(1, tuple(site for site, _ in sites), arrays)


def ask(
    loaded: LoadedModel,
    sentences: Sequence[AnnotatedText],
    questions: Sequence[Question],
    *,
    probe: CombinationProbe | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> Answers:
    """Every head's answer to every question, in one forward per batch of sentences of about the same length.

    Args:
        probe: is given the word weights that it wants.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many sentences are done and how many there are.

    Raises:
        InputError: there is no sentence, or no self-attention over the text; or the store is of another run.
    """
    if not sentences:
        raise InputError("There is no annotated sentence to analyze; the file is empty or every sentence was skipped.")
    order, left_out = _by_length(loaded, sentences)
    if not order:
        raise InputError("All sentences exceed the model's maximum length.")
    place = {index: number for number, index in enumerate(order)}
    asked = [number for number, question in enumerate(questions) if question.sentence in place]
    study = WordAnswers(
        [sentences[index] for index in order],
        [replace(questions[number], sentence=place[questions[number].sentence]) for number in asked],
        frozenset() if probe is None else frozenset(place[index] for index in probe.wanted if index in place),
    )
    texts = [sentence.text for sentence in study.sentences]
    learned = run_studies(loaded, texts, [study], store=store, batch_size=BATCH, progress=progress)
    found = study.result(loaded, learned.states[0])
    if probe is not None:
        for number, weights in study.kept_weights(learned.states[0]):
            probe.features[order[number]] = weights
    words = np.full((len(questions), len(found.heads)), -1, dtype=np.int16)
    seen = np.zeros(len(questions), dtype=bool)
    words[asked], seen[asked] = found.words, found.seen
    return Answers(found.heads, words, seen, left_out)


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


def _by_length(loaded: LoadedModel, sentences: Sequence[AnnotatedText]) -> tuple[list[int], tuple[int, ...]]:
    """Indices of the sentences by their length in tokens, and of those that the model has no positions for."""
    tokenizer = loaded.need_tokenizer()
    lengths = [len(ids) for ids in tokenizer([s.text for s in sentences], verbose=False)["input_ids"]]
    limit = loaded.max_length
    fitting = [index for index, length in enumerate(lengths) if limit is None or length <= limit]
    left_out = tuple(sorted(set(range(len(sentences))) - set(fitting)))
    return sorted(fitting, key=lambda index: lengths[index]), left_out


def _membership(owner: Sequence[int | None], words: int) -> Tensor:
    """float ``[word, token]``: 1 where the token is a piece of the word."""
    matrix = torch.zeros(words, len(owner))
    for token, word in enumerate(owner):
        if word is not None:
            matrix[word, token] = 1
    return matrix
