"""Linguistic relations against heads, from an annotated file to tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attention_analyzer.arguments import explain
from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import FileFormatError, InputError, OnError, SelectionError
from attention_analyzer.inputs import check_readable
from attention_analyzer.linguistics.combination import Combination, CombinationProbe
from attention_analyzer.linguistics.coreference import coreference_questions, nearest_rules
from attention_analyzer.linguistics.dependencies import dependency_questions
from attention_analyzer.linguistics.pairs import PairsOfRecord, asked_of_records, pair_questions
from attention_analyzer.linguistics.questions import Answers, Question, ask
from attention_analyzer.linguistics.roles import role_questions, syntax_rules
from attention_analyzer.linguistics.scores import FEWEST, Rules, Scores, offset_rules
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.result import Basis, Result
from attention_analyzer.text.annotation import AnnotatedText
from attention_analyzer.text.conll2012 import read_conll2012
from attention_analyzer.text.conllu import read_conllu
from attention_analyzer.text.pair_lines import read_pair_lines
from attention_analyzer.text.readers.opened import Lines, lines_of
from attention_analyzer.usable_texts import usable_texts

if TYPE_CHECKING:
    import pandas as pd

#: What can be asked, in the order of reports.
TASKS = ("dependencies", "roles", "coreference", "pairs")
_READERS = {
    ".conllu": read_conllu,
    ".conll": read_conll2012,
    ".v4_gold_conll": read_conll2012,
    ".jsonl": read_pair_lines,
}


@dataclass(frozen=True, repr=False)
class Relations(Result):
    """Each task's scores; tasks that the annotation says nothing about are missing.

    Attributes:
        tasks: scores by task name.
        combination: how well all heads together find governors; None without dependencies or with too few.
        sentences: how many were analyzed; ``left_out``: how many the model has no positions for.
    """

    tasks: dict[str, Scores]
    combination: Combination | None
    sentences: int
    left_out: int
    model_name: str = ""

    @classmethod
    def score(
        cls,
        records: Sequence[CapturedAttention],
        pairs: Sequence[PairsOfRecord] | Callable[[CapturedAttention], PairsOfRecord],
        *,
        seed: int = 0,
    ) -> Relations:
        """Relations of one's own, scored on records, also those of weights that have no model.

        >>> Relations.score(records, lambda record: [(5, 2, "agrees with")])["pairs"].table(fewest=1)

        Args:
            records: of one model.
            pairs: one entry per record, or a function of a record: ``(from, to, relation)`` in token positions (either
                side may be several), an array ``[pair, 2]``, or an annotated text such as :func:`read_annotated` gives.
            seed: which halves the records fall into, for the held-out accuracy.

        Raises:
            InputError: a pair lies outside of its record, there is none, or the records are of different models.
        """
        sentences, questions, answers = asked_of_records(records, pairs)
        rules = _rules("pairs", sentences, questions)
        scores = Scores("pairs", sentences, questions, answers, rules, merge=True, seed=seed)
        return cls({"pairs": scores}, None, len(sentences), 0, records[0].model_name)

    def __getitem__(self, task: str) -> Scores:
        """One task's scores.

        Raises:
            SelectionError: the annotation has nothing for this task.
        """
        if task not in self.tasks:
            raise SelectionError(f"There are no scores of {task!r}; the annotation has: {', '.join(self.tasks)}.")
        return self.tasks[task]

    def table(self, task: str | None = None, fewest: int = FEWEST) -> pd.DataFrame:
        """The paper's table, of one task or of all: see :meth:`Scores.table`."""
        import pandas as pd

        chosen = {task: self[task]} if task is not None else self.tasks
        frames = []
        for name, scores in chosen.items():
            frame = scores.table(fewest)
            frame.insert(0, "task", name)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def basis(self) -> Basis:
        return Basis(self.sentences, "sentence")

    def facts(self) -> tuple[str, ...]:
        skipped = f", {self.left_out} skipped" if self.left_out else ""
        asked = ", ".join(f"{len(scores.questions):,} of {task}" for task, scores in self.tasks.items())
        return f"{self.sentences:,} sentences{skipped}", f"questions: {asked}"

    def to_frame(self) -> pd.DataFrame:
        """:meth:`table` of all tasks."""
        return self.table()


def relations(
    loaded: LoadedModel,
    annotated: str | Path | Iterable[AnnotatedText],
    *,
    tasks: Sequence[str] | None = None,
    limit: int | None = None,
    min_words: int = 1,
    max_words: int | None = None,
    spaced: bool = True,
    combine: bool = True,
    seed: int = 0,
    errors: OnError = "skip",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> Relations:
    """What heads know of dependencies, semantic roles and coreference.

    Args:
        annotated: a CoNLL-U file (``.conllu``, with or without PropBank columns), a CoNLL-2012 file (``.conll``), pairs
            of one's own (``.jsonl``, see :mod:`.pair_lines`), or sentences from :mod:`.pipelines`.
        tasks: some of :data:`TASKS`; all that the annotation has by default.
        limit: how many sentences at most, from the start of the file, after those of the wrong length are left out.
        min_words, max_words: sentences with fewer or more words are left out.
        spaced: put a space between all annotated words ("do n't"), as published, so that no token belongs to two words;
            False reads the text as it was written.
        combine: whether the combination of all heads is fitted, too.
        errors: "skip" leaves out sentences that the model cannot read, and lists them in ``problems``; "raise" stops.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with the number of sentences done and their total.

    Raises:
        FileFormatError: the annotation is malformed; the message has line and reason.
        InputError: no sentence is left, it has no annotation that was asked for, or the store is of another run.
    """
    for task in tasks or ():
        if task not in TASKS:
            raise InputError(f"There is no task {task!r}; the tasks are {', '.join(TASKS)}.")
    read = read_annotated(annotated) if isinstance(annotated, (str, Path)) else annotated
    fitting = (text for text in read if min_words <= len(text) and (max_words is None or len(text) <= max_words))
    # Pairs of one's own are of texts as they are written: code, formulas, any notation.
    sentences = [text.spaced() if spaced and not text.pairs else text for text in islice(fitting, limit)]
    usable = usable_texts(
        loaded,
        sentences,
        errors=errors,
        check=lambda text: check_readable(loaded, text.text, truncate=False),
        noun="Sentence",
    )
    made = {
        "dependencies": dependency_questions(sentences),
        "roles": role_questions(sentences),
        "coreference": coreference_questions(sentences),
        "pairs": pair_questions(sentences),
    }
    chosen = {task: questions for task, questions in made.items() if questions and task in (tasks or TASKS)}
    if not chosen:
        wanted = " or ".join(tasks or TASKS)
        raise InputError(f"{len(sentences)} sentences were read, but they have no annotation of {wanted}.")
    probe = CombinationProbe(sentences, seed) if combine and "dependencies" in chosen else None
    every = [question for questions in chosen.values() for question in questions]
    answers = ask(loaded, sentences, every, probe=probe, store=store, progress=progress)
    scores = {}
    start = 0
    for task, questions in chosen.items():
        part = slice(start, start + len(questions))
        start = part.stop
        own = Answers(answers.heads, answers.words[part], answers.seen[part], answers.left_out)
        scores[task] = Scores(
            task,
            sentences,
            questions,
            own,
            _rules(task, sentences, questions),
            merge=task in ("dependencies", "pairs"),
            seed=seed,
        )
    result = Relations(
        tasks=scores,
        combination=None if probe is None else probe.result(),
        sentences=len(sentences) - len(answers.left_out),
        left_out=len(answers.left_out),
        model_name=loaded.name,
    )
    return usable.noted(result)


@explain
def read_annotated(path: str | Path, encoding: str | None = None) -> Iterable[AnnotatedText]:
    """Sentences of an annotated file, by its suffix.

    Args:
        encoding: of the file; by default UTF-8, or UTF-16 where it shows that.

    Raises:
        InputError: the file is not there, or its suffix names no annotated format.
        FileFormatError: it is malformed, or of another encoding.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path} has the suffix {path.suffix!r}; annotated files are {', '.join(_READERS)}.")
    try:
        with lines_of(path, encoding) as lines:
            yield from reader(_all_of(lines, path), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def _all_of(lines: Lines, path: Path) -> Iterator[str]:
    for line in lines:
        if line is None:
            raise FileFormatError(f"{path}, line {lines.number}: {lines.problem}.")
        yield line


def _rules(task: str, sentences: Sequence[AnnotatedText], questions: Sequence[Question]) -> dict[str, Rules]:
    if task in ("dependencies", "pairs"):
        return {"offset": offset_rules(questions)}
    if task == "roles":
        return {"offset": offset_rules(questions), "syntax": syntax_rules(sentences, questions)}
    return {"nearest": nearest_rules(sentences, questions)}
