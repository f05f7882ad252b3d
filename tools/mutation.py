"""Change the code a little in many ways, one at a time, and count how often the tests notice: docs/mutation.md.

mutmut makes the mutants and runs, for each, the tests that reach its function. Of each package a sample is drawn, the
same for the same seed; a mutant that changes only the words of a message is not drawn, and functions under a decorator
are not mutated. Survivors that no test could tell from the code are listed with the reason in ``EQUIVALENT``.

    python tools/mutation.py                          every package
    python tools/mutation.py --only heads --count 200 one of them; the rows of the others stay
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mutation.md"
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.json"
BUILD = ROOT / "build" / "mutation"
#: Package → tests that are run for it; those of processes, Ray and training loops would cost minutes a mutant.
PACKAGES: dict[str, tuple[str, ...]] = {
    "metrics": ("tests/metrics", "tests/test_record.py"),
    "patterns": ("tests/patterns",),
    "attribution": ("tests/attribution",),
    "comparison": ("tests/comparison",),
    "linguistics": ("tests/linguistics",),
    "weights": ("tests/weights", "tests/kernels/test_row_pass.py"),
    "heads": ("tests/heads",),
    "corpus": ("tests/corpus/test_summary.py", "tests/corpus/test_search.py", "tests/corpus/test_store.py"),
    "training": ("tests/training/test_history_files.py", "tests/training/test_onsets.py"),
}
SEED = 0
_COPIED = ("src", "tests", "docs", "demo_models", "benchmarks", "README.md", "pyproject.toml")
_NOBODY = "nothing-is-called-this"
_KILLED, _TIMEOUT, _NO_TEST = {1, 3}, {36, -24, 24, 152, 255, -9, -11}, {5, 33}
_SENTENCE = re.compile(r"""(["'])(?=[^"']*\s[^"']*\s)[^"']*\1""")


@dataclass
class Outcome:
    """Counts of one package's mutants; of those that survived, the file and the changed lines."""

    mutants: int = 0
    killed: int = 0
    equivalent: int = 0
    unreached: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.killed + self.equivalent + len(self.survivors)

    @property
    def rate(self) -> float:
        return self.killed / max(self.tried - self.equivalent, 1)


def run_package(name: str, count: int) -> Outcome:
    """Make the mutants of a package in a copy of the project, and try a sample of them."""
    folder = BUILD / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each in _COPIED:
        copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy2
        copy(ROOT / each, folder / each)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/attention_analyzer/{name}/*"],
        "also_copy": ["docs", "demo_models", "benchmarks", "README.md"],
        "pytest_add_cli_args_test_selection": list(PACKAGES[name]),
        "pytest_add_cli_args": ["-q", "-x", "-p", "no:cacheprovider"],
        "process_isolation": "forkserver",
        "use_git_change_detection": False,
    }
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[tool.mutmut]\n{lines}")
    _mutmut(folder, _NOBODY)  # makes the mutants and finds the tests of each function
    names = sorted(_codes(folder))
    if not names:
        raise SystemExit(f"mutmut made no mutants of {name}; its log is {folder / 'log.txt'}.")
    os.chdir(folder)
    reached = set(json.loads(Path("mutants/mutmut-stats.json").read_text())["tests_by_mangled_function_name"])
    outcome = Outcome(len(names))
    random.Random(SEED).shuffle(names)  # noqa: S311 (a sample, not a secret)
    sample: list[str] = []
    for mutant in names:
        if len(sample) + outcome.unreached == count:
            break
        if is_of_words(_changes(mutant)):
            continue
        if mutant.rpartition("__mutmut_")[0] in reached:
            sample.append(mutant)
        else:
            outcome.unreached += 1
    _mutmut(folder, *sample)
    known = json.loads(EQUIVALENT.read_text(encoding="utf-8")) if EQUIVALENT.exists() else {}
    codes = _codes(folder)
    for mutant in sample:
        change = f"{mutant.split('.x')[0].removeprefix('attention_analyzer.')}: {_shown(_changes(mutant))}"
        if codes[mutant] in _KILLED | _TIMEOUT:
            outcome.killed += 1
        elif change in known:
            outcome.equivalent += 1
        elif codes[mutant] == 0:
            outcome.survivors.append(change)
        else:
            outcome.unreached += 1
    return outcome


def is_of_words(changed: list[str]) -> bool:
    """Whether only the letters of sentences differ: of a message, which no test should pin to the letter."""
    cut = [_SENTENCE.sub("''", line[1:]) for line in changed]
    half = len(cut) // 2
    return bool(cut) and cut[:half] == cut[half:]


def _mutmut(folder: Path, *names: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1", *names]
    with (folder / "log.txt").open("a") as log:
        subprocess.run(command, check=False, cwd=folder, env=environment, stdout=log, stderr=log)


def _codes(folder: Path) -> dict[str, int | None]:
    found = (json.loads(path.read_text())["exit_code_by_key"] for path in (folder / "mutants").rglob("*.meta"))
    return {name: code for each in found for name, code in each.items()}


def _changes(mutant: str) -> list[str]:
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(mutant).splitlines()[2:]
    removed, added = ([line for line in lines if line.startswith(sign)] for sign in "-+")
    return removed + added


def _shown(changed: list[str]) -> str:
    half = len(changed) // 2
    return " → ".join(" ".join(line[1:].strip() for line in part) for part in (changed[:half], changed[half:]))


def _page(outcomes: dict[str, Outcome]) -> Iterator[str]:
    tried = sum(each.tried for each in outcomes.values())
    equivalent = sum(each.equivalent for each in outcomes.values())
    killed = sum(each.killed for each in outcomes.values())
    yield f"""# Mutation tests

A test that cannot fail checks nothing. `make mutation` changes the code of the packages below a little, in one place
at a time (`<` to `<=`, a sum to a difference, an argument to `None`), and runs the tests that reach the place: a mutant
is *killed* if one of them fails. Of each package a random sample is tried, the same for the same seed ({SEED}).
`MUTATION_ARGS="--only heads --count 200"` tries more of one package.

Of {tried:,} mutants that were tried, {killed:,} were killed and {equivalent:,} are equivalent:
{killed / max(tried - equivalent, 1):.1%} of those that a test could notice.

- **Equivalent**: no test can tell it from the code; `tools/equivalent_mutants.json` has the reason for each.
- **Not reached**: drawn, but in a function that the fast tests of this package do not call; other tests may.

| Package | Mutants | Tried | Killed | Equivalent | Survived | Killed, of non-equivalent | Not reached |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
    for name, each in outcomes.items():
        counts = (each.mutants, each.tried, each.killed, each.equivalent, len(each.survivors))
        yield f"| {name} | {' | '.join(f'{count:,}' for count in counts)} | {each.rate:.0%} | {each.unreached:,} |\n"
    if missing := [name for name in PACKAGES if name not in outcomes]:
        yield f"\nNot run so far: {', '.join(missing)}.\n"
    left = {name: each.survivors for name, each in outcomes.items() if each.survivors}
    if left:
        yield "\n## Survivors\n\n"
        for survivors in left.values():
            yield from (f"- `{survivor.replace('`', '')}`\n" for survivor in survivors)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tools/mutation.py", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="mutants of each package")
    parser.add_argument("--only", choices=PACKAGES, help="one package")
    parser.add_argument("--run", choices=PACKAGES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        print(json.dumps(asdict(run_package(chosen.run, chosen.count))))
        return 0
    results = BUILD / "results.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in PACKAGES:
        if chosen.only in (None, name):
            command = [sys.executable, __file__, "--run", name, "--count", str(chosen.count)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
            results.write_text(json.dumps(found, indent=1))
            print(name, found[name], flush=True)
    outcomes = {name: Outcome(**found[name]) for name in PACKAGES if name in found}
    PAGE.write_text("".join(_page(outcomes)), encoding="utf-8")
    return 0 if all(each.rate >= 0.9 for each in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
