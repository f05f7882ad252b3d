"""Folders for files that are kept as long as someone holds them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path


class Folder:
    """A new folder, removed with the last one who holds this object, or when the program ends."""

    def __init__(self, purpose: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"attention-{purpose}-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
