"""Measurements kept while the source stays as it is, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "build" / "benchmarks" / "kept.json"


def source() -> str:
    """A hash of everything that is measured or measures."""
    found = hashlib.sha256()
    for folder in (ROOT / "src", ROOT / "benchmarks"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".cpp"}:
                found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


class Kept:
    """Results by what was wanted; those of another source are forgotten."""

    def __init__(self) -> None:
        self.source = source()
        self.results: dict[str, Any] = {}
        if FILE.exists():
            stored = json.loads(FILE.read_text(encoding="utf-8"))
            if stored["source"] == self.source:
                self.results = stored["results"]

    def put(self, wanted: str, result: Any) -> None:
        self.results[wanted] = result
        FILE.parent.mkdir(parents=True, exist_ok=True)
        partial = FILE.with_suffix(".partial")
        partial.write_text(json.dumps({"source": self.source, "results": self.results}), encoding="utf-8")
        partial.replace(FILE)
