"""What the person who runs a dashboard decides, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The operator's choices.

    Attributes:
        models: the only models that visitors may choose; empty for all. A dashboard with such a list is taken as
            shared by strangers: then no local folder and no hub id can be named.
        longest_text: characters that a text box takes.
        largest_upload: megabytes that one uploaded file may have.
    """

    models: tuple[str, ...] = ()
    longest_text: int = 100_000
    largest_upload: int = 50

    @property
    def shared(self) -> bool:
        return bool(self.models)

    @classmethod
    def from_environment(cls) -> Settings:
        """``ATTENTION_ANALYZER_MODELS`` (names with commas), ``…_LONGEST_TEXT`` and ``…_LARGEST_UPLOAD``."""
        listed = os.environ.get("ATTENTION_ANALYZER_MODELS", "")
        return cls(
            models=tuple(name.strip() for name in listed.split(",") if name.strip()),
            longest_text=int(os.environ.get("ATTENTION_ANALYZER_LONGEST_TEXT", cls.longest_text)),
            largest_upload=int(os.environ.get("ATTENTION_ANALYZER_LARGEST_UPLOAD", cls.largest_upload)),
        )
