"""docs/patterns.md has every pattern as the code defines it; written anew by ``python -m tests.patterns.test_page``."""

from __future__ import annotations

import re
from pathlib import Path

from attention_analyzer.patterns import PATTERNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "patterns.md"
BLOCK = re.compile(r"(?<=<!-- patterns:start -->\n).*?(?=<!-- patterns:end -->)", re.DOTALL)


def definitions() -> str:
    rows = ["| pattern | definition | threshold |", "| --- | --- | ---: |"]
    for pattern in PATTERNS:
        text = " ".join((type(pattern).__doc__ or "").split()).replace("``", "`")
        text = re.sub(r":(?:mod|class):`\.?([^`]*)`", r"`\1`", text).replace("<s>", "`<s>`")
        rows.append(f"| `{pattern.name}` | {text} | {pattern.threshold} |")
    return "\n".join(rows) + "\n"


def test_the_page_has_every_pattern_as_it_is_defined() -> None:
    found = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == definitions()


def test_the_measured_table_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for subject in ("planted decoder", "planted encoder", "demo-decoder, induction"):
        assert f"| {subject} |" in text


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: definitions(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
