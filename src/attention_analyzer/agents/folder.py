"""The one folder that a client may read from; without one, it reads no file at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from attention_analyzer.errors import InputError

#: Files that are listed, and how many of them.
_READABLE = (".txt", ".md", ".json", ".attn", ".safetensors")
_MOST = 200


@dataclass(frozen=True)
class Folder:
    """A folder and nothing outside of it.

    Attributes:
        root: the folder with every link resolved; None: no folder was named at start.
    """

    root: Path | None

    @classmethod
    def at(cls, path: Path | None) -> Folder:
        """
        Raises:
            InputError: there is no such folder.
        """
        if path is None:
            return cls(None)
        if not path.is_dir():
            raise InputError(f"{path} is no folder; name one that exists, or leave it out to offer no files.")
        return cls(path.resolve())

    def file(self, name: str) -> Path:
        """The file of that name in the folder.

        Raises:
            InputError: it is not there or lies outside, be it by ``..``, as an absolute path or through a link.
        """
        if self.root is None:
            raise InputError("No folder was offered, so no file can be read; start the server with a folder.")
        try:
            path = (self.root / name).resolve()
            inside = path.is_relative_to(self.root) and path.is_file()
        except (OSError, ValueError):  # such as a zero byte
            inside = False
        if not inside:
            raise InputError(f"There is no file {name!r} in the offered folder; the tool 'files' lists what is there.")
        return path

    def names(self) -> list[str]:
        """Readable files by their path inside the folder, at most two hundred."""
        if self.root is None:
            return []
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if name.lower().endswith(_READABLE):
                    found.append(str((Path(folder) / name).relative_to(self.root)))
                if len(found) == _MOST:
                    return found
        return found
