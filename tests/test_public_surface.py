"""What the package shows to the outside: its names, what importing it costs, and what no file may contain."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import attention_analyzer

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

PUBLIC_NAMES = [
    "AttentionAnalyzer",
    "AttentionRecord",
    "Site",
    "Tokens",
    "__version__",
    "capture",
    "compare",
    "compare_models",
    "errors",
    "load_model",
    "read_annotated",
]
#: Where everything else that a user needs is imported from; each has ``__all__``.
PUBLIC_PACKAGES = {
    "agents": {"mcp_server"},
    "attribution": {"ATTRIBUTIONS", "DELETIONS", "TARGETS", "Attribution"},
    "comparison": {"compare", "compare_models"},
    "corpus": {"Corpus", "Progress"},
    "datasets": {"AnnotatedText", "ReadOptions", "annotate_with_spacy", "read_annotated", "read_conllu"},
    "errors": {"AttentionAnalyzerError", "InputError"},
    "heads": {"head_importance", "pruning_curve", "similarity"},
    "interventions": {"KnockOut", "what_if"},
    "linguistics": {"TASKS", "relations"},
    "mechanism": {
        "Circuit",
        "Compositions",
        "ContrastDirections",
        "Effects",
        "HeadWrites",
        "Patching",
        "Why",
        "circuit",
        "compositions",
        "contrast",
        "token_pairs",
        "effects",
        "patch",
        "why",
        "writes",
    },
    "metrics": {"METRICS", "Metric", "OffsetWeight", "Reduction", "Statistics"},
    "models": {"LoadedModel", "available", "load_model"},
    "parts": {"Part", "Parts", "SPLITTERS", "between"},
    "patterns": {"PATTERNS", "Pattern", "label_heads"},
    "programs": {
        "RULES",
        "HeadPrograms",
        "Program",
        "ProgramReplacement",
        "Programs",
        "Rule",
        "Term",
        "programs",
        "replace_by_program",
    },
    "results": {"Corpus", "Result"},
    "sources": {"METHODS", "HeadWeights", "learn_head_weights", "sources"},
    "studies": {"STUDIES", "MeasuredBatch", "State", "Study"},
    "training": {"AttentionTracker", "LogSpaced", "Schedule", "track_checkpoints"},
    "view": {"Annotations", "AttentionWidget", "HeadClusters", "save_figure"},
}
#: What `import attention_analyzer` and the `attn` command's help must not load: each takes a good part of a second.
HEAVY = ["torch", "transformers", "numpy", "pandas", "pyarrow", "matplotlib", "safetensors"]


def fresh(code: str) -> str:
    """Standard output of a few lines of Python in a new interpreter."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_exported_names() -> None:
    assert sorted(attention_analyzer.__all__) == sorted(PUBLIC_NAMES)
    assert sorted(dir(attention_analyzer)) == sorted(PUBLIC_NAMES)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_exported_name_is_there(name: str) -> None:
    value = getattr(attention_analyzer, name)
    assert value is getattr(attention_analyzer, name)
    if isinstance(value, type):
        assert value.__name__ == name
        assert value.__doc__


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_a_public_package_has_its_names(name: str) -> None:
    package = importlib.import_module(f"attention_analyzer.{name}")
    assert PUBLIC_PACKAGES[name] <= set(package.__all__)
    assert set(package.__all__) <= {*dir(package), *vars(package)}
    for public in package.__all__:
        value = getattr(package, public)
        assert value is getattr(package, public)
        if isinstance(value, type):
            assert value.__doc__, public
    with pytest.raises(AttributeError):
        package.no_such_name  # noqa: B018


def test_every_result_is_in_results() -> None:
    from attention_analyzer import results

    for module in pkgutil.walk_packages(attention_analyzer.__path__, "attention_analyzer."):
        if module.name.split(".")[1] in PUBLIC_PACKAGES:
            importlib.import_module(module.name)
    kinds, found = [results.Result], set()
    while kinds:
        kinds += (subclasses := kinds.pop().__subclasses__())
        found |= {kind for kind in subclasses if kind.__module__.startswith("attention_analyzer.")}
    assert len(found) > 10
    assert {kind.__name__ for kind in found} <= set(results.__all__)
    assert all(getattr(results, kind.__name__) is kind for kind in found)


def test_results_and_datasets_load_nothing_heavy() -> None:
    code = """
import json, sys
from attention_analyzer import datasets, models, results, training, view
print(json.dumps(sorted(sys.modules)))"""
    assert not set(json.loads(fresh(code))) & set(HEAVY)


def example_imports(document: str) -> Iterator[tuple[str, str]]:
    """Module and name of every import of the package in a document's Python blocks."""
    for block in re.findall(r"^```python[^\n]*\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "attention_analyzer":
                yield from ((node.module or "", alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names if alias.name.startswith("attention_analyzer."))


def private_imports(document: str) -> list[tuple[str, str]]:
    public = {"attention_analyzer": set(PUBLIC_NAMES)}
    for name in PUBLIC_PACKAGES:
        public[f"attention_analyzer.{name}"] = set(importlib.import_module(f"attention_analyzer.{name}").__all__)
        public["attention_analyzer"].add(name)
    return [(module, name) for module, name in example_imports(document) if name not in public.get(module, ())]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_import_from_public_places(path: Path) -> None:
    assert not private_imports(path.read_text(encoding="utf-8"))


def test_a_private_import_in_an_example_is_found() -> None:
    code = "from attention_analyzer import {0}\nfrom attention_analyzer.view.figures import head_figure"
    for name, problems in (("AttentionAnalyzer", 1), ("Analyser", 2)):
        assert len(private_imports(f"```python\n{code.format(name)}\n```")) == problems


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Analyzer'"):
        attention_analyzer.Analyzer  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    code = "import json, sys, attention_analyzer; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(fresh(code)))
    assert "attention_analyzer" in loaded
    assert not loaded & set(HEAVY)


def test_errors_and_sites_load_nothing_heavy() -> None:
    code = "import json, sys; from attention_analyzer import Site, errors; print(json.dumps(sorted(sys.modules)))"
    assert not set(json.loads(fresh(code))) & set(HEAVY)


def test_every_error_is_in_the_tree() -> None:
    errors = attention_analyzer.errors
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BaseException)]
    assert all(issubclass(cls, errors.AttentionAnalyzerError) for cls in classes)
    # The tree drawn in the module's docstring is the real one.
    assert errors.__doc__ is not None
    assert {cls.__name__ for cls in classes} == set(re.findall(r"\b(?:\w+Error)\b(?!\))", errors.__doc__)) - {
        "ValueError",
        "LookupError",
        "ImportError",
    }


# Packaging


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {match[0].lower().replace("_", "-") for match in found if match}


def test_every_dependency_is_pinned() -> None:
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    wanted = names([*table["dependencies"], *(one for extra in extras.values() for one in extra)])  # type: ignore[misc]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    # triton must be the one that the installed build of torch asks for, so torch's own metadata pins it.
    assert wanted - {"attention-analyzer", "triton"} <= names(pins)
    assert {"torch==2.13.0", "transformers==5.23.0"} <= set(pins)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "exact releases only, no builds and no addresses"
    assert not [pin for pin in pins if pin.startswith(("nvidia-", "cuda-"))]


def test_all_means_every_extra_for_users() -> None:
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    (everything,) = extras["all"]
    assert set(everything.split("[")[1].rstrip("]").split(",")) == extras.keys() - {
        "all",
        "docs",
        "mutation",
        "release",
        "test",
    }


# What no file of the repository may contain: places that exist only on somebody's machine or network. The patterns are
# put together from parts so that this file does not contain them.
FORBIDDEN = {
    "a private folder": r"(?<![\w./-])/" + r"(?:work|root|opt)/[\w.]",
    "a home folder": r"(?<![\w./-])/" + r"(?:home|Users)/(?!alice\b|user\b)\w",
    "an address of a package index": r"https?://[\w.-]*(?:pythonhosted|pypi|download\.pytorch|registry\.npmjs)[\w.-]*",
    "an option that names a package index": r"--(?:extra-)?" + r"index-url|--find-" + "links",
    "a local file address": "file:" + r"///(?!path\b)\w",
}
TEXT_SUFFIXES = {
    "", ".cfg", ".conllu", ".css", ".csv", ".html", ".ini", ".ipynb", ".js", ".json", ".jsonl", ".md", ".mjs", ".py",
    ".sh", ".svg", ".toml", ".ts", ".txt", ".yaml", ".yml",
}  # fmt: skip
SKIPPED_FOLDERS = {".git", ".venv", "node_modules", "build", "dist", "demo-output"}


def repository_files() -> Iterator[Path]:
    """The files under version control; where there is no git, everything that is not built or installed."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        candidates = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        candidates = [path for path in ROOT.rglob("*") if not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts)]
    yield from (path for path in candidates if path.is_file() and path.suffix in TEXT_SUFFIXES)


def findings(text: str) -> Iterator[str]:
    for what, pattern in FORBIDDEN.items():
        for match in re.finditer(pattern, text):
            yield f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r} is {what}"


def test_repository_names_no_private_place() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {finding}"
        for path in repository_files()
        for finding in findings(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "work/main",
        "see /" + "home/someone/x",
        "-f --find-" + "links x",
        "https://files." + "pythonhosted.org/x",
    ],
)
def test_a_private_place_is_found(text: str) -> None:
    assert list(findings("first line\n" + text))
