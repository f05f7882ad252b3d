"""The sweep's results: a file of JSON lines, one a type, in the order of their names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Findings = dict[str, dict[str, Any]]

RESULTS = Path(__file__).parents[2] / "docs" / "coverage.jsonl"
#: How a type may stand. The last two must be repaired before a release.
STATES = ("exact", "weights only", "refused", "no attention", "part", "not here", "not built", "failed")


def load(path: Path = RESULTS) -> Findings:
    """Findings by type; none where there is no file yet."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {finding["type"]: finding for finding in map(json.loads, lines)}


def save(finding: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Add or replace one type's finding; the file is replaced in one step."""
    findings = load(path) | {finding["type"]: dict(finding)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    lines = [json.dumps(findings[name], sort_keys=True) for name in sorted(findings)]
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def counts(findings: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many types stand in which state, in the order of :data:`STATES`."""
    found = Counter(finding["state"] for finding in findings)
    return {state: found[state] for state in STATES if found[state]}
