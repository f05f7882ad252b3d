"""Which of many texts a model can read. Those that it cannot are an error, or are left out and listed.

Every analysis of many texts has ``errors="raise" | "skip"`` and calls :func:`usable_texts` first, so that a text is
left out for the same reasons everywhere, and what was left out is listed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import pandas as pd

from attention_analyzer.errors import InputError, OnError, check_on_error
from attention_analyzer.inputs import check_readable, first_characters, of_one
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.result import Result, problem_table

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class UsableTexts(Generic[T]):
    """The texts that can be read.

    Attributes:
        texts: in their order.
        indices: of these in the list that was given.
        problems: ``index, text, reason`` of those left out.
    """

    texts: list[T]
    indices: tuple[int, ...]
    problems: pd.DataFrame = field(default_factory=problem_table)

    @classmethod
    def unchecked(cls, texts: Iterable[T]) -> UsableTexts[T]:
        """All of them, where the analysis itself says which cannot be used."""
        given = list(texts)
        return cls(given, tuple(range(len(given))))

    def of(self, values: Sequence[V] | None) -> list[V] | None:
        """What belongs to these texts, of values given one per text; None stays None."""
        return None if values is None else [values[index] for index in self.indices]

    def noted(self, result: R) -> R:
        """A result of these texts that also says which were left out."""
        return result if self.problems.empty else result.leaving_out(self.problems)


def usable_texts(
    loaded: LoadedModel | Sequence[LoadedModel],
    texts: Iterable[T],
    *,
    errors: OnError = "raise",
    truncate: bool = False,
    check: Callable[[T], object] | None = None,
    noun: str = "Text",
) -> UsableTexts[T]:
    """All texts, or with ``errors="skip"`` those that every one of the models can read. No model runs.

    Args:
        errors: "raise" stops at the first text that cannot be used, before anything is measured.
        truncate: whether texts are cut to what a model has positions for.
        check: raises InputError for a text that cannot be used; by default, reads it as the models would.
        noun: what one of them is.

    Raises:
        InputError, TooLongError: a text cannot be used, with its number; or with "skip", not one can.
    """
    check_on_error(errors)
    given = list(texts)
    models = [loaded] if isinstance(loaded, LoadedModel) else list(loaded)
    kept: list[int] = []
    problems: list[tuple[int, str, str]] = []
    for index, text in enumerate(given):
        try:
            if check is not None:
                check(text)
            else:
                for model in models:
                    check_readable(model, text, truncate)
        except InputError as error:
            if errors == "raise":
                raise of_one(error, index, text, noun) from None
            problems.append((index, first_characters(text), str(error)))
        else:
            kept.append(index)
    if given and not kept:
        raise InputError(f"None of the {len(given)} texts can be used; the first: {problems[0][2]}")
    return UsableTexts([given[index] for index in kept], tuple(kept), problem_table(problems))
