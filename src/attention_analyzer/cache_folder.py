"""The folder of the disk cache: private to one user, bounded and shared by processes."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.files import UNFINISHED, not_only_mine, private_folder

#: Bytes kept on disk unless the caller says otherwise.
LIMIT = 2 * 1024**3
#: Ends of the files' names: records, and head tables.
RECORD, TABLE = ".attn", ".heads.json"
#: Seconds after which nobody is still writing a file.
_FORGOTTEN = 3600

_Content = TypeVar("_Content")


def default_folder() -> Path:
    """``$ATTENTION_ANALYZER_CACHE``, or the platform's place for caches."""
    from platformdirs import user_cache_path

    named = os.environ.get("ATTENTION_ANALYZER_CACHE")
    return Path(named) if named else user_cache_path("attention-analyzer") / "records"


def key_of(*parts: Any) -> str:
    """The name of what is made from these."""
    import xxhash

    written = json.dumps(parts, sort_keys=True, default=str)
    return xxhash.xxh3_128_hexdigest(written.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class CacheFolder:
    """A bounded folder of files that can be made again.

    Attributes:
        folder: where; made when the first file is kept.
        limit: bytes that the folder may hold.
    """

    folder: Path
    limit: int = LIMIT

    def size(self) -> int:
        """Bytes in use."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> int:
        """Remove all files; how many there were."""
        files = self._files()
        for _, _, path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def read(self, name: str, load: Callable[[Path], _Content]) -> _Content | None:
        """What ``load`` reads from a file of that name, or None. A file that cannot be read is removed."""
        path = self.folder / name
        try:
            if not path.is_file() or self._is_open_to_others():
                return None
            content = load(path) if not_only_mine(path) is None else None
        except (FileFormatError, OSError):
            content = None
        if content is None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def write(self, name: str, size: int, save: Callable[[Path], object]) -> None:
        """Keep what ``save`` writes, unless it alone would take a quarter of the cache.

        A disk that is full or read-only is no reason to fail: then nothing is kept.

        Args:
            size: bytes, about.
        """
        if size > self.limit // 4:
            return
        with suppress(OSError, InputError):
            private_folder(self.folder)
            if self._is_open_to_others():
                return
            save(self.folder / name)
            self._trim()

    def _is_open_to_others(self) -> bool:
        problem = not_only_mine(self.folder)
        if problem is not None:
            warnings.warn(f"{problem} Records are not cached.", stacklevel=5)
        return problem is not None

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
        """Last use, size and path of every file; another process may remove one meanwhile."""
        found = []
        for path in (each for end in (RECORD, TABLE) for each in self.folder.glob(f"*{end}")):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found
