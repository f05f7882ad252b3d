"""The conformance sweep over every model type: ``python -m tests.conformance.sweep [type …]``.

Results go to a JSON-lines file, one line a type; a sweep that was stopped goes on where it was. Each type runs in a
process of its own with a time limit and a memory limit, so that none can take the others down.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
import warnings
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "coverage.jsonl"
MEMORY = 8 << 30
SECONDS = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="types to examine; all that have no result yet by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--again", nargs="*", default=None, metavar="STATE", help="examine these states again")
    options = parser.parse_args()
    _prepare()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    known = load(options.results)
    again = set(options.again or ())
    chosen = options.types or [
        name for name in CONFIG_MAPPING_NAMES if name not in known or known[name]["state"] in again
    ]
    for finding in _run(chosen, options.workers):
        known[finding["type"]] = finding
        save(options.results, known)
    counts: dict[str, int] = {}
    for finding in known.values():
        counts[finding["state"]] = counts.get(finding["state"], 0) + 1
    print("\n" + ", ".join(f"{state} {count}" for state, count in sorted(counts.items())))


def load(path: Path) -> dict[str, dict]:
    """Findings by type."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {finding["type"]: finding for finding in map(json.loads, lines)}


def save(path: Path, findings: dict[str, dict]) -> None:
    """Write all findings, sorted, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    lines = [json.dumps(findings[name], sort_keys=True) for name in sorted(findings)]
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def _prepare() -> None:
    """Import what every type needs once; children are forked from here."""
    os.environ.update(TRANSFORMERS_VERBOSITY="critical", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    warnings.simplefilter("ignore")
    import torch

    import tests.conformance.examine  # noqa: F401
    from attention_analyzer.weights.compiled import row_pass

    torch.set_num_threads(1)
    row_pass()


def _run(types: list[str], workers: int):
    """Findings as they come."""
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(types))
    running: list[tuple[str, BaseProcess, Connection, float]] = []
    done = 0
    while waiting or running:
        while waiting and len(running) < workers:
            name = waiting.pop()
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(name, theirs), daemon=True)
            process.start()
            theirs.close()
            running.append((name, process, ours, time.monotonic()))
        time.sleep(0.05)
        for entry in list(running):
            name, process, pipe, start = entry
            finding = _poll(name, process, pipe, time.monotonic() - start)
            if finding is None:
                continue
            running.remove(entry)
            done += 1
            _progress(done, len(types), finding)
            yield finding


def _poll(name: str, process: BaseProcess, pipe: Connection, elapsed: float) -> dict | None:
    reason = ""
    if pipe.poll():
        try:
            finding = pipe.recv()
            process.join()
        except EOFError:
            process.join()
            reason = f"the process ended with {process.exitcode}"
        else:
            return finding
    elif not process.is_alive():
        reason = f"the process ended with {process.exitcode}"
    elif elapsed > SECONDS:
        process.kill()
        process.join()
        reason = f"took longer than {SECONDS} s"
    return {"type": name, "state": "failed", "reason": reason} if reason else None


def _child(name: str, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    from tests.conformance.examine import examine

    pipe.send(asdict(examine(name)))


def _progress(done: int, total: int, finding: dict) -> None:
    if sys.stdout.isatty():
        filled = 40 * done // total
        bar = "█" * filled + "·" * (40 - filled)
        print(f"\r{bar} {done}/{total} {finding['type'][:30]:30} {finding['state']:12}", end="", flush=True)
    else:
        print(f"{done}/{total} {finding['type']} {finding['state']} {finding.get('reason', '')[:300]}", flush=True)


if __name__ == "__main__":
    main()
