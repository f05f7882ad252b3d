"""Every error the toolkit raises on purpose, as one tree.

    AttentionAnalyzerError
    ├── InputError             the text, array or argument given cannot be used        (also a ValueError)
    │   ├── SelectionError     a layer, head, site or token that does not exist        (also a LookupError)
    │   └── TooLongError       the text exceeds what the model or the memory can hold
    ├── ModelError             a model could not be found, loaded or understood
    │   ├── ModelNotFoundError no such model here
    │   └── UnsupportedModelError   its attention cannot be represented as [head, query, key]
    ├── CaptureError           what was captured does not agree with what the model did
    ├── FileFormatError        a file is corrupt, foreign or from a newer version
    └── MissingDependencyError an optional package is needed                          (also an ImportError)

A message is one sentence with what was expected, what was given and what to do next. Nothing outside this tree is
raised for a user's mistake, and ``assert`` is never used on input.

A remedy that is an argument of the library is an :class:`Option`, not part of the message: Python shows
``pass truncate=True``, the command line ``pass --truncate``, the dashboard the name of its switch
(:meth:`AttentionAnalyzerError.worded`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "AttentionAnalyzerError",
    "CaptureError",
    "FileFormatError",
    "InputError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "SelectionError",
    "TooLongError",
    "UnsupportedModelError",
]

#: What becomes of one of many texts that cannot be used: an error, or a row in a table of problems.
OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class Option:
    """A remedy that is an argument of the library.

    Attributes:
        name: the argument.
        value: as Python writes it.
        phrase: the words around it; ``{}`` stands for the argument.
    """

    name: str
    value: str = "…"
    phrase: str = "pass {}"

    def __str__(self) -> str:
        return self.phrase.format(f"{self.name}={self.value}")


class AttentionAnalyzerError(Exception):
    """Base of everything raised on purpose.

    Args:
        problem: the message; without a full stop if remedies follow.
        remedies: what to do, as alternatives.
    """

    def __init__(self, problem: str = "", remedies: Sequence[str | Option] = ()) -> None:
        super().__init__(_joined(problem, [str(remedy) for remedy in remedies]))
        self.problem = problem
        self.remedies = tuple(remedies)

    def worded(self, word: Callable[[Option], str | None]) -> str:
        """The message for another front end.

        Args:
            word: the words for an option; None if the front end does not offer it.
        """
        if not self.remedies:
            return str(self)
        words = [remedy if isinstance(remedy, str) else word(remedy) for remedy in self.remedies]
        return _joined(self.problem, [each for each in words if each]) if any(words) else f"{self.problem}."

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _joined(problem: str, remedies: Sequence[str]) -> str:
    if not remedies:
        return problem
    *most, last = remedies
    return f"{problem}; {', '.join(most)}{' or ' if most else ''}{last}."


def _again(kind: type[AttentionAnalyzerError], args: tuple[object, ...], state: dict[str, object]) -> object:
    """An error from another process, without running the constructor of its class."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(AttentionAnalyzerError, ValueError):
    """The text, array or argument given cannot be used."""


class SelectionError(InputError, LookupError):
    """A layer, head, site or token that does not exist was asked for."""


class TooLongError(InputError):
    """The text is longer than the model's positions or the memory allows."""


class ModelError(AttentionAnalyzerError):
    """A model could not be found, loaded or understood."""


class ModelNotFoundError(ModelError):
    """The named model is neither bundled, nor a local folder, nor reachable on the hub."""


class UnsupportedModelError(ModelError):
    """The model's attention cannot be had as weights ``[head, query, key]``."""


class CaptureError(AttentionAnalyzerError):
    """The captured attention does not agree with the model's own output."""


class FileFormatError(AttentionAnalyzerError):
    """A file is corrupt, foreign, or written by a newer version."""


class MissingDependencyError(AttentionAnalyzerError, ImportError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}; install it with pip install 'attention-analyzer[{extra}]'."
        )
        self.package = package
        self.extra = extra


def check_on_error(errors: str) -> OnError:
    """The word itself.

    Raises:
        InputError: it is not an :data:`OnError`.
    """
    if errors not in ("raise", "skip"):
        raise InputError(f"errors must be 'raise' or 'skip', not {errors!r}.")
    return "skip" if errors == "skip" else "raise"
