"""Records kept on disk by what they were made from, so that the second call for the same text is near instant.

The key is a hash of the model's weights and configuration, the text and every setting that matters; a changed model is
another key, so nothing stale is ever read. Files appear whole (written beside and renamed), so two processes may share
a cache; the least recently used leave when the limit is reached. A folder that others may write to is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attention_analyzer.cache_folder import LIMIT, RECORD, CacheFolder, default_folder, key_of
from attention_analyzer.captured import CapturedAttention
from attention_analyzer.storage import VERSION, load_record, save_record

__all__ = ["LIMIT", "RecordCache", "default_folder"]


@dataclass(frozen=True)
class RecordCache(CacheFolder):
    """A bounded folder of records; see :class:`.CacheFolder`."""

    @staticmethod
    def key(fingerprint: str, text: Any, settings: dict[str, Any]) -> str:
        """The name of what is made from these."""
        return key_of(VERSION, fingerprint, text, settings)

    def get(self, key: str) -> CapturedAttention | None:
        """The record of that key, or None. A file that cannot be read is removed: it can be made again."""
        return self.read(f"{key}{RECORD}", load_record)

    def put(self, key: str, record: CapturedAttention) -> None:
        """Keep a record, unless it alone would take a quarter of the cache.

        A disk that is full or read-only is no reason to fail: then nothing is kept.
        """
        self.write(f"{key}{RECORD}", record.nbytes, lambda path: save_record(record, path, durable=False))
