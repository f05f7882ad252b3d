"""Run every attack in a process of its own, and write the counts to docs/reliability.md.

``python -m tests.reliability`` makes 1,000 attempts of each attack; ``--count 100 --only record`` fewer, of some: their
rows of the page are replaced, and the others stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tests.reliability.attack import Attack, Outcome
from tests.reliability.attacks import ATTACKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_INTRODUCTION = """# Reliability

What is stored comes back as it was, or is refused in one sentence; a full disk leaves what was there. The table counts
how often that was tried and how it ended. `make reliability` makes all attempts again and writes this page
(`RELIABILITY_ARGS="--only scan"` some of them and their rows); `make test` makes some dozens of each.

- **Refused**: an error of the package, one sentence, nothing harmed.
- **Worked**: the right result all the same.
- **Wrong**: another result without a word. **Crashed**: an error of another kind, or the end of the process.

| Attack | Tried | Refused | Worked | Wrong | Crashed |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


def page(outcomes: Mapping[str, Outcome], before: str) -> str:
    """The page of the docs; attacks that were not tried keep the rows that they had before."""
    rows = {line.split("|")[1].strip(): f"{line}\n" for line in before.splitlines() if line.startswith("| ")}
    for name, found in outcomes.items():
        counts = (found.tried, found.refused, found.worked, found.wrong, found.crashed)
        rows[name] = f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |\n"
    return _INTRODUCTION + "".join(rows[attack.name] for attack in ATTACKS if attack.name in rows)


def outcome_of(attack: Attack, count: int) -> Outcome:
    """An attack in a process of its own; that its end is no end of the others."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.reliability", "--run", attack.name, "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return Outcome(crashed=1)
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="attempts of each attack")
    parser.add_argument("--only", default="", help="attacks whose name contains this; letters' case does not matter")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        attack = next(each for each in ATTACKS if each.name == chosen.run)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(attack.run(chosen.count, Path(folder)))))
        return 0
    outcomes = {}
    for attack in ATTACKS:
        if chosen.only.casefold() in attack.name.casefold():
            outcomes[attack.name] = outcome_of(attack, chosen.count)
            print(f"{attack.name}: {outcomes[attack.name]}", flush=True)
    PAGE.write_text(page(outcomes, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0 if all(found.is_good for found in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
