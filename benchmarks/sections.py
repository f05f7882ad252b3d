"""The sections of README.md and docs/ that benchmarks write; everything outside their markers stays."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_section(document: str, name: str, content: str, root: Path = ROOT) -> None:
    """Let ``content`` take the place of what stands between ``<!-- name:start -->`` and ``<!-- name:end -->``."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    path = root / document
    section = f"{start}\n{content}\n{end}"
    changed, count = re.subn(f"{start}.*?{end}", lambda _: section, path.read_text(encoding="utf-8"), flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{document} should have one section between {start} and {end}, but has {count}.")
    path.write_text(changed, encoding="utf-8")
