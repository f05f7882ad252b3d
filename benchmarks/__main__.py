"""Run everything and write the tables: ``python -m benchmarks``; an interrupted run goes on where it was."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import attribution, peers, report
from benchmarks.kept import Kept
from benchmarks.shapes import HEADS, LAYERS, SHAPES

ROOT = Path(__file__).resolve().parent.parent
#: Larger differences than this are errors, not rounding.
TOLERANCE = 2e-5
#: The way of full matrices is left out where they would fill more than this share of the machine's memory.
SHARE_OF_MEMORY = 0.6
#: For longer texts, where a run takes minutes, plain forward and toolkit run once each, in processes of their own.
LONGEST_IN_TURNS = 8192
kept = Kept()


def worker(**wanted: Any) -> dict[str, Any]:
    """One measurement in a process of its own."""
    settings = {name: value for name, value in wanted.items() if name != "environment"}
    key = json.dumps(wanted, sort_keys=True)
    if key in kept.results:
        return kept.results[key]
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(settings)]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | wanted.get("environment", {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{settings} failed:\n{done.stderr[-2000:]}")
    print(f"{time.perf_counter() - started:6.1f} s  {settings}", file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if settings["do"] != "peer_inputs":  # what it leaves is files
        kept.put(key, result)
    return result


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return worker(do="environment") | {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": total_memory() / 1e9,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def engine(lengths: list[int], shape: str) -> dict[str, Any]:
    found = {}
    for tokens in lengths:
        once = {
            name: worker(do="alone", shape=shape, tokens=tokens, subject=name, repeats=1)
            for name in ("plain", "toolkit")
        }
        if tokens > LONGEST_IN_TURNS:
            cell = {name: found_alone["seconds"] for name, found_alone in once.items()}
        else:
            cell = worker(do="ratio", shape=shape, tokens=tokens, repeats=repeats_for(tokens))
        cell["memory"] = {name: found_alone["memory"] for name, found_alone in once.items()}
        needed = LAYERS * HEADS * tokens * tokens * 4
        if 2 * needed > SHARE_OF_MEMORY * total_memory():
            cell["matrices"] = f"matrices alone: {needed / 1e9:,.0f} GB"
        else:
            cell["matrices"] = worker(
                do="alone", shape=shape, tokens=tokens, subject="matrices", repeats=2 if tokens < 2048 else 1
            )
        found[str(tokens)] = cell
    return found


def repeats_for(tokens: int) -> int:
    return 15 if tokens <= 512 else 5 if tokens <= 2048 else 3 if tokens <= 4096 else 2


def against_peers(sizes: list[int], with_peers: bool) -> dict[str, Any]:
    folder = ROOT / "build" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    worker(do="peer_inputs", tokens=sizes, folder=str(folder))
    found: dict[str, Any] = {
        "ours": {
            str(size): worker(do="alone", shape="llama", tokens=size, subject="toolkit", repeats=3) for size in sizes
        },
        "records": {str(size): worker(do="record_file", tokens=size, folder=str(folder)) for size in sizes},
        "peers": {},
    }
    for peer in peers.PEERS:
        if not with_peers:
            found["peers"][peer.name] = {"reason": "not asked for"}
            continue
        environment = peers.environment(peer, folder / "environments")
        if environment.python is None:
            found["peers"][peer.name] = {"reason": environment.reason}
            continue
        cells = {}
        for size in (size for size in sizes if size <= peer.longest):
            cells[str(size)] = peers.measure(peer, environment.python, folder, size)
            print(f"          {peer.name} {size}: {cells[str(size)]}", file=sys.stderr, flush=True)
        found["peers"][peer.name] = {"sizes": cells, "note": peer.note}
    return found


def startup() -> dict[str, float]:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import attention_analyzer": [sys.executable, "-c", "import attention_analyzer"],
        "attn --help": [str(Path(sys.executable).with_name("attn")), "--help"],
    }
    found = {}
    for name, command in commands.items():
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            seconds.append(time.perf_counter() - start)
        found[name] = min(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short texts only: does everything run?")
    parser.add_argument("--longest", type=int, default=32768, help="leave longer texts out")
    parser.add_argument("--again", action="store_true", help="forget what was measured before on the same source")
    parser.add_argument("--no-peers", action="store_true", help="leave other tools out")
    parser.add_argument("--no-attribution", action="store_true", help="leave methods of token importance out")
    parser.add_argument("--dry", action="store_true", help="print the document instead of writing it")
    options = parser.parse_args()
    if options.again:
        kept.results.clear()
    longest = 512 if options.quick else options.longest
    lengths = [tokens for tokens in (128, 512, 2048, 4096, 8192, 32768) if tokens <= longest]
    found: dict[str, Any] = {"about": machine(), "shapes": SHAPES}
    found["checks"] = {shape: worker(do="check", shape=shape, tokens=300)["difference"] for shape in SHAPES}
    wrong = {shape: value for shape, value in found["checks"].items() if not value < TOLERANCE}
    if wrong:
        raise SystemExit(f"The results differ from those of the full matrices, so nothing is timed: {wrong}")
    found["baseline"] = worker(do="alone", shape="bert", tokens=8, subject="toolkit", repeats=1)["memory"]
    found["engine"] = {shape: engine(lengths, shape) for shape in SHAPES}
    off = {"ATTENTION_ANALYZER_KERNEL": "off"}
    found["without"] = {
        str(tokens): worker(do="ratio", shape="bert", tokens=tokens, repeats=repeats_for(tokens), environment=off)
        for tokens in lengths
        if tokens <= 8192
    }
    found["short"] = worker(do="short_texts", shape="bert", texts=32, repeats=15) | {"texts": 32}
    found |= against_peers([128, 512] if options.quick else [128, 512, 2048, 4096], not options.no_peers)
    if not options.no_attribution:
        found["attribution"] = attribution.cost(worker, 512 if options.quick else 4096)
    found["startup"] = startup()
    found["gpu"] = worker(do="on_gpu") if found["about"]["cuda"] else None
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "benchmarks.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    if options.dry:
        print(report.document(found))
    else:
        report.write(found, ROOT)


if __name__ == "__main__":
    main()
