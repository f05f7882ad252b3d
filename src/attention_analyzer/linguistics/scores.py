"""Heads against baselines: who answers which kind of question best, and whether that holds on unseen sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.errors import SelectionError
from attention_analyzer.linguistics.questions import Answers, Question
from attention_analyzer.result import Result
from attention_analyzer.site import Site, from_end, is_layer
from attention_analyzer.stats import benjamini_hochberg, holm, p_better, share_interval
from attention_analyzer.text.annotation import AnnotatedText

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
#: Labels with fewer questions are left out of tables: their best head would be chance.
FEWEST = 20


@dataclass(frozen=True)
class Rules:
    """A family of simple rules that a head has to beat; the best one is chosen as the best head is.

    Attributes:
        names: of the rules ("+1", "nsubj").
        correct: bool ``[question, rule]``.
    """

    names: tuple[str, ...]
    correct: Bools


@dataclass(frozen=True)
class Example:
    """One question and what one head answered.

    Attributes:
        text: the sentence; ``words``: its words.
        word: index of the asking word; ``answers``: indices of the right ones; ``looks_at``: the head's, or None.
    """

    text: str
    words: tuple[str, ...]
    word: int
    answers: tuple[int, ...]
    looks_at: int | None
    correct: bool
    direction: str
    name: str
    line: int

    def __str__(self) -> str:
        shown = list(self.words)
        for index in self.answers:
            shown[index] = f"[{shown[index]}]"
        shown[self.word] = f"*{shown[self.word]}*"
        looks = "nothing" if self.looks_at is None else repr(self.words[self.looks_at])
        return f"{'✓' if self.correct else '✗'} {' '.join(shown)} → {looks}"


@dataclass(frozen=True, repr=False)
class Scores(Result):
    """What every head answered to one task's questions, set against rules.

    Attributes:
        task: "dependencies", "roles" or "coreference".
        sentences, questions, answers: what was asked and answered.
        rules: families of baselines by name; there is at least one.
        merge: whether a label's best head is looked for in both directions together (as published for dependencies).
        seed: which halves the sentences fall into.
    """

    task: str
    sentences: Sequence[AnnotatedText]
    questions: Sequence[Question]
    answers: Answers
    rules: Mapping[str, Rules]
    merge: bool = True
    seed: int = 0

    views: ClassVar[tuple[str, ...]] = ("map",)

    @property
    def heads(self) -> tuple[tuple[Site, int], ...]:
        return self.answers.heads

    @cached_property
    def correct(self) -> Bools:
        """bool ``[question, head]``."""
        longest = max(map(len, self.sentences)) + 1
        right = np.zeros((len(self.questions), longest), dtype=bool)
        for row, question in enumerate(self.questions):
            right[row, list(question.answers)] = True
        # Column -1, "looks at nothing", is never right.
        return np.take_along_axis(right, self.answers.words.astype(np.int64) % longest, axis=1)

    @cached_property
    def sentence(self) -> Indices:
        return np.array([question.sentence for question in self.questions], dtype=np.int64)

    @cached_property
    def in_first_half(self) -> Bools:
        """bool ``[question]``: a fixed random half of the sentences, so that documents fall into both."""
        order = np.random.default_rng(self.seed).permutation(len(self.sentences))
        return (order % 2 == 0)[self.sentence]

    @cached_property
    def groups(self) -> dict[tuple[str, str], Indices]:
        """The questions of each label and direction, those that could be asked."""
        found: dict[tuple[str, str], list[int]] = {}
        for index, question in enumerate(self.questions):
            if self.answers.seen[index]:
                for label in question.labels:
                    found.setdefault((label, question.direction), []).append(index)
        return {key: np.array(indices, dtype=np.int64) for key, indices in found.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """Most frequent first."""
        sizes: dict[str, int] = {}
        for (label, _), indices in self.groups.items():
            sizes[label] = max(sizes.get(label, 0), len(indices))
        return tuple(sorted(sizes, key=lambda label: -sizes[label]))

    def table(self, fewest: int = FEWEST) -> pd.DataFrame:
        """One row per label (and direction, where these are different questions).

        ``accuracy`` and ``baseline`` are chosen and scored on the same sentences, as published. ``held_out`` is fair:
        head (and rule) are chosen on one half of the sentences and scored on the other, both ways, together; ``low``
        and ``high`` are its 95 % interval, ``p`` the chance of such a gain over ``held_out_baseline`` if there were
        none, and ``p_holm``, ``p_bh`` are corrected for the number of rows. ``better_heads`` counts the heads that beat
        the baseline after Holm's correction for the number of heads (5 %).
        """
        rows = [self._row(label, groups) for label, groups in self._labeled(fewest)]
        table = pd.DataFrame([row for row in rows if row])
        if len(table):
            table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
            table["p_bh"] = benjamini_hochberg(table["p"].to_numpy(dtype=float))
        return table

    def head_table(self, label: str, direction: str | None = None) -> pd.DataFrame:
        """Every head's accuracy on one label, the best first; p against the baseline, corrected for all these heads."""
        groups = self._groups_of(label, direction)
        frames = []
        for where, indices in groups.items():
            baseline = max((best_rule(rules, indices) for rules in self.rules.values()), key=lambda best: best[2])
            correct = self.correct[indices]
            frame = pd.DataFrame([_name(site, head) for site, head in self.heads])
            frame["direction"] = where
            frame["questions"] = len(indices)
            frame["accuracy"] = correct.mean(0)
            frame["baseline"] = baseline[2]
            frame["p"] = p_better(correct, baseline[1][indices], self.sentence[indices])
            frames.append(frame)
        table = pd.concat(frames, ignore_index=True)
        table["p_holm"] = holm(table["p"].to_numpy())
        table["p_bh"] = benjamini_hochberg(table["p"].to_numpy())
        return table.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)

    def examples(
        self,
        label: str,
        layer: int,
        head: int,
        *,
        direction: str | None = None,
        correct: bool | None = None,
        stack: str | None = None,
        limit: int = 10,
    ) -> list[Example]:
        """The sentences behind a cell: questions of a label and what a head answered, in the order of the file.

        Raises:
            SelectionError: there is no such label, direction or head.
        """
        column = self._column(layer, head, stack)
        found = []
        for indices in self._groups_of(label, direction).values():
            for index in indices:
                if correct is None or bool(self.correct[index, column]) == correct:
                    found.append(self._example(int(index), column))
                if len(found) == limit:
                    return found
        return found

    def _example(self, index: int, column: int) -> Example:
        question = self.questions[index]
        sentence = self.sentences[question.sentence]
        looks_at = int(self.answers.words[index, column])
        return Example(
            text=sentence.text,
            words=sentence.words,
            word=question.word,
            answers=tuple(sorted(question.answers)),
            looks_at=None if looks_at < 0 else looks_at,
            correct=bool(self.correct[index, column]),
            direction=question.direction,
            name=sentence.name,
            line=sentence.line,
        )

    def _labeled(self, fewest: int) -> Iterator[tuple[str, dict[str, Indices]]]:
        for label in self.labels:
            groups = {where: each for (name, where), each in self.groups.items() if name == label}
            groups = {where: each for where, each in groups.items() if len(each) >= fewest}
            if self.merge and groups:
                yield label, groups
            elif groups:
                yield from ((label, {where: each}) for where, each in groups.items())

    def _row(self, label: str, groups: Mapping[str, Indices]) -> dict[str, object]:
        where, column, accuracy = best_head(self.correct, groups)
        indices = groups[where]
        site, head = self.heads[column]
        row: dict[str, object] = {"label": label, "questions": len(indices), "direction": where, **_name(site, head)}
        row["accuracy"] = accuracy
        best = {family: best_rule(rules, indices) for family, rules in self.rules.items()}
        row["baseline"] = max(share for _, _, share in best.values())
        for family, (name, _, share) in best.items():
            row |= {family: share, f"{family}_rule": name}
        return row | self._held_out(groups) | {"better_heads": self._better_heads(groups)}

    def _held_out(self, groups: Mapping[str, Indices]) -> dict[str, object]:
        """Head and rule chosen on one half, scored on the other, both ways."""
        correct, baseline, sentences, chosen = [], [], [], []
        for first in (True, False):
            half = {where: each[self.in_first_half[each] == first] for where, each in groups.items()}
            if any(len(each) == 0 for each in half.values()):
                return dict.fromkeys(("held_out", "low", "high", "held_out_baseline", "p"), np.nan) | {"chosen": ""}
            where, column, _ = best_head(self.correct, half)
            rest = groups[where][self.in_first_half[groups[where]] != first]
            rules = [best_rule(each, half[where]) for each in self.rules.values()]
            correct.append(self.correct[rest, column])
            baseline.append(max(rules, key=lambda best: best[2])[1][rest])
            sentences.append(self.sentence[rest])
            site, head = self.heads[column]
            chosen.append(f"L{site.layer}H{head}")
        hits, base, sentence = map(np.concatenate, (correct, baseline, sentences))
        low, high = share_interval(hits, sentence)
        return {
            "held_out": float(hits.mean()),
            "low": low,
            "high": high,
            "held_out_baseline": float(base.mean()),
            "chosen": "/".join(dict.fromkeys(chosen)),
            "p": float(p_better(hits[:, None], base, sentence)[0]),
        }

    def _better_heads(self, groups: Mapping[str, Indices]) -> int:
        p = []
        for indices in groups.values():
            base = max((best_rule(rules, indices) for rules in self.rules.values()), key=lambda best: best[2])[1]
            p.append(p_better(self.correct[indices], base[indices], self.sentence[indices]))
        return int((holm(np.stack(p)) <= 0.05).any(0).sum())

    def _groups_of(self, label: str, direction: str | None) -> dict[str, Indices]:
        found = {where: each for (name, where), each in self.groups.items() if name == label}
        if not found:
            known = ", ".join(self.labels) or "none"
            raise SelectionError(f"Nothing is labeled {label!r} in the {self.task}; the labels are: {known}.")
        if direction is not None and direction not in found:
            raise SelectionError(f"{label!r} has no direction {direction!r}; it has {', '.join(found)}.")
        return found if direction is None else {direction: found[direction]}

    def _column(self, layer: int, head: int, stack: str | None) -> int:
        sites = [site for site, _ in self.heads]
        for column, (site, number) in enumerate(self.heads):
            is_it = is_layer(site, layer, sites) and number == from_end(head, site.heads)
            if is_it and stack in (None, site.stack):
                return column
        layers = max(site.layer for site, _ in self.heads)
        raise SelectionError(
            f"There is no head L{layer}H{head}; layers go from 0 to {layers}, heads to {self.heads[0][0].heads - 1}."
        )

    def facts(self) -> tuple[str, ...]:
        return (f"{self.task}: {len(self.questions):,} questions in {len(self.sentences):,} sentences",)

    def to_frame(self) -> pd.DataFrame:
        """:meth:`table`."""
        return self.table()


def best_head(correct: Bools, groups: Mapping[str, Indices]) -> tuple[str, int, float]:
    """Direction, column and accuracy of the best head over all directions (the first of equals)."""
    shares = {where: correct[indices].mean(0) for where, indices in groups.items()}
    where = max(shares, key=lambda name: float(shares[name].max()))
    column = int(shares[where].argmax())
    return where, column, float(shares[where][column])


def best_rule(rules: Rules, indices: Indices) -> tuple[str, Bools, float]:
    """Name, correctness on all questions, and accuracy on these, of the best rule of a family."""
    shares = rules.correct[indices].mean(0)
    column = int(shares.argmax())
    return rules.names[column], rules.correct[:, column], float(shares[column])


def offset_rules(questions: Sequence[Question], farthest: int = 20) -> Rules:
    """The word at a fixed offset (Clark et al. 2019, §4.2)."""
    offsets = [offset for offset in range(-farthest, farthest + 1) if offset]
    correct = np.array(
        [[question.word + offset in question.answers for offset in offsets] for question in questions], dtype=bool
    )
    return Rules(tuple(f"{offset:+d}" for offset in offsets), correct.reshape(len(questions), len(offsets)))


def _name(site: Site, head: int) -> dict[str, object]:
    return {"stack": site.stack, "layer": site.layer, "head": head}
