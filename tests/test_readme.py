"""Every example in README.md, the other documents and docs/ runs, in order, as a reader would run it.

Python blocks of one document share one namespace; ``attn`` commands of ``bash`` blocks run in the same folder; ``make``
commands must name a target that exists. A block right below a comment ``<!-- not run: reason -->`` is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\s*\n)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```\s*$",
    re.MULTILINE | re.DOTALL,
)
#: Texts that the examples read.
SAMPLES = {
    "notes.txt": "The cat sat on the mat.\n\nThe quick brown fox jumps over the lazy dog.\n",
    "texts.txt": "".join(f"The {name} sat, and the dog ran.\n" for name in ("cat", "man", "boy", "girl", "fox", "hen")),
}


@dataclass(frozen=True)
class Block:
    """A fenced block that is to be run."""

    language: str
    code: str
    line: int

    def commands(self) -> Iterator[tuple[int, str]]:
        """The commands of a bash block with their lines; continued lines are one command."""
        line, number = "", 0
        for offset, text in enumerate(self.code.splitlines()):
            number = number if line else self.line + offset
            line += text.strip()
            if line.endswith("\\"):
                line = line[:-1]
                continue
            if line and not line.startswith("#"):
                yield number, line.removeprefix("$ ")
            line = ""


def blocks(document: str) -> Iterator[Block]:
    for match in FENCE.finditer(document):
        if not match["skip"]:
            yield Block(match["language"], match["code"], document.count("\n", 0, match.start("code")) + 1)


def run_python(block: Block, namespace: dict[str, object], name: str) -> None:
    # Empty lines before the code make the line numbers of a traceback those of the document.
    exec(compile("\n" * (block.line - 1) + block.code, name, "exec"), namespace)


def run_command(command: str, folder: Path, place: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{place}: {command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{place}: {command}:\n{done.stderr}"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


# The one warning a reader of the examples may see: an unnamed model that cannot be had here.
@pytest.mark.filterwarnings("ignore:.*bert-base-uncased")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(blocks(document.read_text(encoding="utf-8")))
    monkeypatch.chdir(tmp_path)
    for name, text in SAMPLES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__example__"}
    for block in found:
        if block.language == "python":
            run_python(block, namespace, str(document))
        elif block.language == "bash":
            for line, command in block.commands():
                place = f"{document.name}:{line}"
                program, *arguments = shlex.split(command, comments=True)
                if program == "attn":
                    assert shutil.which("attn", path=str(Path(sys.executable).parent)), "the package is not installed"
                    run_command(command, tmp_path, place)
                elif program == "make":
                    assert {a for a in arguments if "=" not in a} <= targets(), f"{place}: no such target: {command}"


def links(document: str) -> Iterator[str]:
    """Links to files of the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document)):
        if not re.match(r"[a-z]+:|#", target):
            yield target.split("#")[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = [link for link in links(document.read_text(encoding="utf-8")) if not (document.parent / link).exists()]
    assert not broken


def test_blocks_are_found_with_their_lines() -> None:
    document = (
        "a\n\n```python\nx = 1\n```\n<!-- not run: a server -->\n```bash\nattn app\n```\n```bash\nattn a \\\n  b\n```\n"
    )
    first, second = blocks(document)
    assert (first.language, first.code, first.line) == ("python", "x = 1\n", 4)
    assert list(second.commands()) == [(11, "attn a b")]


def test_a_failing_example_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(Block("python", "1 / 0\n", 7), {}, "x.md")
    assert caught.traceback[-1].lineno == 6  # zero-based
    with pytest.raises(AssertionError, match="exited with 3"):
        run_command("exit 3", tmp_path, "x.md:1")
