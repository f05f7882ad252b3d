"""Records kept on disk by what they were made from, so that the second call for the same text is near instant.

The key is a hash of the model's weights and configuration, the text and every setting that matters; a changed model is
another key, so nothing stale is ever read. Files appear whole (written beside and renamed), so two processes may share
a cache; the least recently used leave when the limit is reached. A folder that others may write to is not used.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.files import UNFINISHED, not_only_mine, private_folder
from attention_analyzer.storage import VERSION, load_record, save_record

#: Bytes kept on disk unless the caller says otherwise.
LIMIT = 2 * 1024**3
_SUFFIX = ".attn"
#: Seconds after which nobody is still writing a file.
_FORGOTTEN = 3600


def default_folder() -> Path:
    """``$ATTENTION_ANALYZER_CACHE``, or the platform's place for caches."""
    from platformdirs import user_cache_path

    named = os.environ.get("ATTENTION_ANALYZER_CACHE")
    return Path(named) if named else user_cache_path("attention-analyzer") / "records"


@dataclass(frozen=True)
class RecordCache:
    """A bounded folder of records.

    Attributes:
        folder: where; made when the first record is kept.
        limit: bytes that the folder may hold.
    """

    folder: Path
    limit: int = LIMIT

    @staticmethod
    def key(fingerprint: str, text: Any, settings: dict[str, Any]) -> str:
        """The name of what is made from these."""
        import xxhash

        parts = json.dumps([VERSION, fingerprint, text, settings], sort_keys=True, default=str)
        return xxhash.xxh3_128_hexdigest(parts.encode("utf-8", "surrogatepass"))

    def get(self, key: str) -> CapturedAttention | None:
        """The record of that key, or None. A file that cannot be read is removed: it can be made again."""
        path = self._path(key)
        try:
            if not path.is_file() or self._is_open_to_others():
                return None
            record = load_record(path) if not_only_mine(path) is None else None
        except (FileFormatError, OSError):
            record = None
        if record is None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return record

    def put(self, key: str, record: CapturedAttention) -> None:
        """Keep a record, unless it alone would take a quarter of the cache.

        A disk that is full or read-only is no reason to fail: then nothing is kept.
        """
        if record.nbytes > self.limit // 4:
            return
        with suppress(OSError, InputError):
            private_folder(self.folder)
            if self._is_open_to_others():
                return
            save_record(record, self._path(key), durable=False)
            self._trim()

    def size(self) -> int:
        """Bytes in use."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> int:
        """Remove all records; how many there were."""
        files = self._files()
        for _, _, path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def _is_open_to_others(self) -> bool:
        problem = not_only_mine(self.folder)
        if problem is not None:
            warnings.warn(f"{problem} Records are not cached.", stacklevel=4)
        return problem is not None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _trim(self) -> None:
        for left in self.folder.glob(f".*{UNFINISHED}"):  # of processes that were killed
            with suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - _FORGOTTEN:
                    left.unlink()
        files = sorted(self._files(), key=lambda file: file[0])
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """Last use, size and path of every record; another process may remove one meanwhile."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found
