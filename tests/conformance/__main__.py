"""Prove the capture on every architecture of transformers: ``python -m tests.conformance [type …]``.

Results go to ``docs/coverage.jsonl`` as they come, so a sweep that was stopped goes on where it was;
``docs/coverage.md`` is written from them at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.conformance import report
from tests.conformance.results import RESULTS, STATES, counts, load, save
from tests.conformance.sweep import sweep


def main() -> None:
    options = _options()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    unknown = set(options.types) - set(CONFIG_MAPPING_NAMES)
    if unknown:
        sys.exit(f"transformers has no model type {', '.join(sorted(unknown))}.")
    known = load(options.results)
    chosen = options.types or [
        name for name in CONFIG_MAPPING_NAMES if name not in known or known[name]["state"] in options.again
    ]
    console = Console()
    for finding in _shown(console, sweep(chosen, options.workers), len(chosen)):
        save(finding, options.results)
    findings = load(options.results)
    console.print(", ".join(f"{state}: {count}" for state, count in counts(findings.values()).items()))
    if options.results == RESULTS:
        report.write(findings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("types", nargs="*", help="types to examine; all that have no result yet by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--again", nargs="*", default=(), choices=STATES, metavar="STATE", help="examine types in these states again"
    )
    return parser.parse_args()


def _shown(console: Console, findings: Iterator[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    """The findings, with a bar in a terminal and a line for each that needs a look."""
    columns = (BarColumn(40), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("importing", total=total)
        for finding in findings:
            progress.update(task, advance=1, description=f"{finding['type']}: {finding['state']}")
            if not console.is_terminal or finding["state"] in ("failed", "not built"):
                console.print(
                    f"{finding['type']}: {finding['state']} {finding['reason'][:400]}", markup=False, highlight=False,
                    soft_wrap=True,
                )  # fmt: skip
            yield finding


if __name__ == "__main__":
    main()
