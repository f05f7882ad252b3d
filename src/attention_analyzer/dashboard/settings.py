"""What the person who runs a dashboard decides, by environment variables and by where it listens."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: Addresses that only this machine reaches.
_OWN = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """The operator's choices.

    Attributes:
        models: the only models that visitors may choose; empty for all.
        longest_text: characters that a text box takes.
        largest_upload: megabytes that one uploaded file may have.
        most_files: how many files are taken at once.
        workers: how many long analyses run at the same time; others wait their turn.
    """

    models: tuple[str, ...] = ()
    longest_text: int = 100_000
    largest_upload: int = 50
    most_files: int = 20
    workers: int = 2

    @property
    def shared(self) -> bool:
        """Whether strangers may use it: then no local folder and no hub id can be named."""
        return bool(self.models)

    @classmethod
    def here(cls) -> Settings:
        """The settings of this dashboard.

        ``ATTENTION_ANALYZER_MODELS`` has names with commas; ``…_LONGEST_TEXT``, ``…_LARGEST_UPLOAD``, ``…_MOST_FILES``
        and ``…_WORKERS`` are numbers. A dashboard that listens beyond this machine without a list of models offers only
        the bundled ones: whoever reaches it is a stranger.
        """
        import streamlit as st

        listed = [name.strip() for name in os.environ.get("ATTENTION_ANALYZER_MODELS", "").split(",")]
        models = tuple(name for name in listed if name)
        if not models and st.get_option("server.address") not in _OWN:
            from attention_analyzer.models.catalog import PACKAGED, bundled_names, offline_folder

            models = bundled_names() + ((PACKAGED,) if offline_folder(PACKAGED) else ())
        return cls(
            models,
            _number("LONGEST_TEXT", cls.longest_text),
            _number("LARGEST_UPLOAD", cls.largest_upload),
            _number("MOST_FILES", cls.most_files),
            _number("WORKERS", cls.workers),
        )


def _number(name: str, otherwise: int) -> int:
    return max(1, int(os.environ.get(f"ATTENTION_ANALYZER_{name}", otherwise)))
