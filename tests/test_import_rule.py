"""The import rule: nothing imports upwards, not even inside a function; no modules import each other in a circle; each
outside library has one place that may use it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

PACKAGE = "attention_analyzer"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

#: From the ground up. A room may use its own floor and every floor below it.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "arguments",
            "cleanup",
            "grad_mode",
            "deprecation",
            "errors",
            "fields",
            "files",
            "lazy",
            "locks",
            "module_hooks",
            "progress",
            "random_state",
            "result",
            "site",
            "stats",
        }
    ),
    frozenset({"media", "text", "weights"}),
    frozenset({"hooks", "models"}),
    frozenset(
        {
            "assembly",
            "cache",
            "cache_folder",
            "captured",
            "collecting",
            "decoding",
            "diagnosis",
            "external",
            "forwards",
            "given_inputs",
            "inputs",
            "matrices",
            "media_recording",
            "places",
            "record_reader",
            "recording",
            "storage",
            "table_cache",
            "usable_texts",
        }
    ),
    frozenset({"run"}),
    frozenset(
        {
            "metrics",
            "patterns",
            "heads",
            "attribution",
            "interventions",
            "linguistics",
            "comparison",
            "mechanism",
            "parts",
            "sources",
            "programs",
        },
    ),
    frozenset({"studies", "training", "corpus", "datasets", "view", "atlas"}),
    frozenset({"plots"}),
    frozenset({"record"}),
    frozenset({"analyzer", "capturing", "results"}),
    frozenset({"agents"}),
    frozenset({"cli", "dashboard"}),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

#: Libraries that only one place may import, as a prefix of the module's name inside the package.
ONLY_IN = {
    "streamlit": ("dashboard",),
    "anywidget": ("view.widget",),
    "mcp": ("agents.serving", "agents.tools"),
    "ray": ("run.ray",),
}
#: Of transformers, everything but these is an internal, and only ``hooks`` knows its internals.
TRANSFORMERS_PUBLIC = frozenset({"transformers", "transformers.utils.logging"})
TRANSFORMERS_INTERNAL_NAMES = frozenset({"AttentionInterface", "AttentionMaskInterface"})


@dataclass(frozen=True)
class Import:
    """One imported name: ``module`` is absolute, ``name`` what is taken from it (or "")."""

    importer: str
    line: int
    module: str
    name: str
    in_function: bool
    for_types_only: bool

    @property
    def target(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


def module_name(path: Path, root: Path) -> str:
    """The module's dotted name inside the package; "" for the package's own ``__init__``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _Collector(ast.NodeVisitor):
    def __init__(self, importer: str, is_package: bool) -> None:
        self.importer, self.is_package = importer, is_package
        self.depth, self.typing = 0, 0
        self.found: list[Import] = []

    def _add(self, line: int, module: str, name: str = "") -> None:
        self.found.append(Import(self.importer, line, module, name, self.depth > 0, self.typing > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node.lineno, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            parts = [PACKAGE, *self.importer.split(".")] if self.importer else [PACKAGE]
            base = parts if self.is_package else parts[:-1]
            base = base[: len(base) - node.level + 1]
            module = ".".join([*base, module] if module else base)
        for alias in node.names:
            self._add(node.lineno, module, alias.name)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in {"import_module", "__import__"} and node.args and isinstance(node.args[0], ast.Constant):
            self._add(node.lineno, str(node.args[0].value))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        is_typing = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        self.typing += is_typing
        for child in node.body:
            self.visit(child)
        self.typing -= is_typing
        for child in node.orelse:
            self.visit(child)

    def _function(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function


def imports(root: Path) -> Iterator[Import]:
    """Every import of every module below ``root``."""
    for path in sorted(root.rglob("*.py")):
        collector = _Collector(module_name(path, root), path.name == "__init__.py")
        collector.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        yield from collector.found


def is_inside(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def violation(found: Import) -> str | None:
    """What is wrong with an import, or None."""
    room = found.importer.split(".")[0]
    if is_inside(found.module, PACKAGE):
        return _upward(found, room)
    library = found.module.split(".")[0]
    places = ONLY_IN.get(library, ())
    if places and not any(is_inside(found.importer, place) for place in places):
        return f"{library} is used only in {' or '.join(places)}"
    if library == "transformers" and room != "hooks":
        is_internal = found.module not in TRANSFORMERS_PUBLIC and found.target not in TRANSFORMERS_PUBLIC
        if is_internal or found.name in TRANSFORMERS_INTERNAL_NAMES:
            return "transformers' internals are known only to hooks"
    return None


def _upward(found: Import, room: str) -> str | None:
    if (
        not room
    ):  # the package itself: public names, imported when they are used; the lowest floor imports nothing heavy
        is_light = found.module.split(".")[1:2] in (["lazy"], ["result"])
        return None if found.in_function or found.for_types_only or is_light else "public names are imported lazily"
    if room not in FLOOR_OF:
        return f"the room {room!r} stands on no floor; add it to FLOORS"
    target = found.target.split(".")
    if len(target) < 2 or target[1].startswith("__"):
        return None
    if target[1] not in FLOOR_OF:
        is_public_name = found.module == PACKAGE
        return f"import {target[1]} from its own module" if is_public_name else f"the room {target[1]!r} is unknown"
    if FLOOR_OF[target[1]] <= FLOOR_OF[room] or found.for_types_only:
        return None
    return f"{room} (floor {FLOOR_OF[room]}) imports {target[1]} (floor {FLOOR_OF[target[1]]})"


def violations(root: Path) -> list[str]:
    return [
        f"{found.importer or '__init__'}:{found.line}: {found.target}: {problem}"
        for found in imports(root)
        if (problem := violation(found))
    ]


def circles(root: Path) -> list[list[str]]:
    """Groups of modules that import each other, inside functions or not; imports for types only do not count."""
    modules = {module_name(path, root) for path in root.rglob("*.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports(root):
        target = found.target.split(".")
        if target[0] != PACKAGE or found.for_types_only:
            continue
        names = [".".join(target[1:end]) for end in range(len(target), 1, -1)]
        module = next((name for name in names if name in modules), "")
        if module not in ("", found.importer):
            graph[found.importer].add(module)
    return sorted(sorted(group) for group in nx.strongly_connected_components(nx.DiGraph(graph)) if len(group) > 1)


def test_nothing_imports_upwards() -> None:
    assert not (found := violations(SOURCE)), "\n" + "\n".join(found)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not (found := circles(SOURCE)), "\n" + "\n".join(" ↔ ".join(circle) for circle in found)


def test_every_module_stands_on_a_floor() -> None:
    rooms = {module_name(path, SOURCE).split(".")[0] for path in SOURCE.rglob("*.py")}
    assert rooms - {""} <= FLOOR_OF.keys()


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("weights/lazy.py", "from attention_analyzer.metrics import METRICS"),
        ("weights/lazy.py", "from ..metrics import METRICS"),
        ("weights/lazy.py", "def f():\n    import attention_analyzer.view.figures"),
        ("metrics/entropy.py", "from attention_analyzer import analyzer"),
        ("metrics/entropy.py", "from attention_analyzer import AttentionRecord"),
        ("captured.py", "from attention_analyzer.view.figures import head_figure"),
        ("captured.py", "def heads():\n    from attention_analyzer.metrics.head_table import head_table"),
        ("heads/similarity.py", "def figure():\n    from attention_analyzer.plots.similarity import similarity_figure"),
        ("text/words.py", "from transformers.modeling_utils import PreTrainedModel"),
        ("text/words.py", "from transformers import masking_utils, AttentionInterface"),
        ("cli/main.py", "import streamlit as st"),
        ("view/payload.py", "import anywidget"),
        ("corpus/scan.py", "from importlib import import_module\nray = import_module('ray')"),
        ("attic/old.py", "import attention_analyzer.errors"),
        ("__init__.py", "from attention_analyzer.record import AttentionRecord"),
    ],
)
def test_a_broken_rule_is_seen(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("record.py", "from attention_analyzer.metrics.head_table import head_table"),
        ("metrics/head_table.py", "if TYPE_CHECKING:\n    from attention_analyzer.analyzer import AttentionAnalyzer"),
        ("hooks/interface_hook.py", "from transformers.modeling_utils import AttentionInterface"),
        ("models/load.py", "from transformers import AutoModel"),
        ("models/load.py", "from transformers.utils import logging"),
        ("view/widget.py", "import anywidget"),
        ("cli/main.py", "from attention_analyzer import __version__"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
    assert violations(tmp_path) == []


def test_a_circle_is_seen(tmp_path: Path) -> None:
    for room, other in (("text", "weights"), ("weights", "text")):
        (tmp_path / room).mkdir()
        code = f"def f():\n    import attention_analyzer.{other}.one"
        (tmp_path / room / "one.py").write_text(code, encoding="utf-8")
    assert circles(tmp_path) == [["text.one", "weights.one"]]
