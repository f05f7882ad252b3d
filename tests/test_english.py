"""What people read: plain English, and no Python in front of people who use none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "attention_analyzer"
#: A habit, and what to write instead.
HABITS = {
    r"\b(can(not)?|could( not)?) be had\b|\bhad here\b": "is available, can be loaded, exists",
    r"\b(over)?heard\b|\beavesdrop|\blistened? to\b": "hook, capture",
    r"\bhand(ed|s)? over\b": "pass, return, save",
    r"\b(is|are) told\b|\btold apart\b": "report, list; separate, distinguish",
    r"\b(goes|gone|go) on\b": "resume, continue",
    r"\banew\b|\bshall\b|\bsurely\b": "again, will, reliably",
    r"\b(one|ten) an? (line|text|layer|head|batch|query)\b|, one a line\b": "per",
    r"\blooks? alike\b": "are similar",
    r"\bbears? (a|the|its|their) names?\b|\bearn(s|ed)? a name\b": "is labeled",
    r"\bno proof\b|\bproves nothing\b": "does not establish",
    r"\bof one's own\b|\bof yours\b": "your",
    r"\b(normali|speciali|summari|analy)s(e|ed|ing)\b(?<!analyses)": "US spelling",
}
#: Arguments of the library in the words of a front end.
PYTHON = re.compile(r"\b[a-z_]{3,}=(…|True\b|False\b|None\b|'|\[)")


def documents() -> Iterator[tuple[str, str]]:
    """Each line of prose in what people read, with its place; code and tables made by programs are left out."""
    generated = ("coverage.md", "coverage_modules.md", "reliability.md", "benchmarks.md")
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in paths:
        if path.name in generated:
            continue
        code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code ^= line.startswith("```")
            if not code and not line.startswith("|"):
                yield f"{path.relative_to(ROOT)}:{number}", re.sub(r"`[^`]*`", "", line)


def shown(folder: str) -> Iterator[tuple[str, str]]:
    """Each text in the code of a front end, with its place; docstrings and names are left out."""
    for path in sorted((SOURCE / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
                      and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                words = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                words = "" if id(node) in docstrings else node.value
            else:
                continue
            if " " in words:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", words


def messages() -> Iterator[tuple[str, str]]:
    """Each message of an error that the package raises on purpose, with its place."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                first = node.exc.args[0]
                parts = first.values if isinstance(first, ast.JoinedStr) else [first]
                words = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                yield f"{path.relative_to(ROOT)}:{node.lineno}", words


def found(texts: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{place}: {match[0]!r}; write: {better}"
        for place, words in texts
        for habit, better in HABITS.items()
        if (match := re.search(habit, words, re.IGNORECASE))
    ]


def test_documents_are_plain_english() -> None:
    assert not found(documents())


@pytest.mark.parametrize("folder", ["cli", "dashboard", "plots", "view"])
def test_front_ends_are_plain_english(folder: str) -> None:
    assert not found(shown(folder))


def test_errors_are_plain_english() -> None:
    assert not found(messages())


@pytest.mark.parametrize("folder", ["cli", "dashboard"])
def test_front_ends_show_no_python(folder: str) -> None:
    """Scripts that pages offer are Python on purpose: lines that call something."""
    words = [(place, text) for place, text in shown(folder) if "(" not in text and not text.startswith(", ")]
    assert not [f"{place}: {text}" for place, text in words if PYTHON.search(text)]


def test_the_habits_are_recognized() -> None:
    lines = ["what can be had here", "texts, one a line", "it goes on from there", "the scores are normalised"]
    assert len(found((line, line) for line in lines)) >= len(lines)
    assert not found(iter([("", "Queries attend to the previous token; analyses are listed per head.")]))


def test_viewer_is_plain_english() -> None:
    texts = (
        (f"{path.relative_to(ROOT)}:{number}", text)
        for path in sorted((ROOT / "viewer" / "src").rglob("*.js"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if not line.strip().startswith(("//", "*", "/*"))
        for text in re.findall(r"[\"'`]([^\"'`]* [^\"'`]*)[\"'`]", line)
    )
    assert not found(texts)
