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

A message is one sentence with what was expected, what was met and what to do next. Nothing outside this tree is
raised for a user's mistake, and ``assert`` is never used on input.
"""

from __future__ import annotations

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


class AttentionAnalyzerError(Exception):
    """Base of everything raised on purpose."""


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


def check_on_error(errors: str) -> None:
    """Raises InputError for anything that is not an :data:`OnError`."""
    if errors not in ("raise", "skip"):
        raise InputError(f"errors must be 'raise' or 'skip', not {errors!r}.")
