"""Modules outside of transformers examined: ``python -m tests.conformance.modules [name …]``.

Each is a small one with random weights. Results go to ``docs/coverage_modules.jsonl``, and ``docs/coverage_modules.md``
is written from them. What needs a package that is not installed keeps the result it had, or is left out.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import AttentionAnalyzerError
from attention_analyzer.hooks.verification import verify_model
from attention_analyzer.models.unwrapping import unwrap
from tests.conformance.module_recipes import RECIPES

RESULTS = Path(__file__).parents[2] / "docs" / "coverage_modules.jsonl"
#: What captured weights may differ by from those that torch computes step by step.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Finding:
    """What was found of one module.

    Attributes:
        state: "exact", "weights only", "refused", "failed".
        doors: how its calls were captured.
        sites: how many there are, with the number of heads of each.
        deviation: largest difference between an output and the one rebuilt, relative to the largest output.
        difference: largest difference from the weights that torch's unfused path computes.
    """

    name: str
    package: str
    state: str
    doors: tuple[str, ...] = ()
    sites: int = 0
    heads: tuple[int, ...] = ()
    deviation: float = 0.0
    difference: float = 0.0
    reason: str = ""


def examine(name: str, package: str, build: Callable[[], tuple[Any, dict[str, Any]]]) -> Finding:
    """Build a module, and hold what is captured of it against what torch computes step by step."""
    torch.manual_seed(0)
    given, inputs = build()
    model = unwrap(given).model.eval()
    label = f"{package} {_version(package)}"
    try:
        report = verify_model(model, inputs)
        captured = _weights(model, inputs)
        expected = _weights_step_by_step(model, inputs)
    except AttentionAnalyzerError as error:
        return Finding(name, label, "refused", reason=str(error))
    gaps = [_gap(mine, theirs) for mine, theirs in zip(captured, expected, strict=True)]
    difference = max(gaps, default=float("inf"))
    good = report.holds and difference < TOLERANCE
    state = ("exact" if report.exact else "weights only") if good else "failed"
    heads = tuple(sorted({site.heads for site in report.sites}))
    doors = tuple(report.doors)
    return Finding(name, label, state, doors, len(report.sites), heads, report.deviation, difference)


def _gap(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference. Padding is left out where a mask says what it is; then no weight is on it elsewhere."""
    _, queries, keys = mine.shape
    rest = theirs[:, :queries, keys:]
    return max(float((mine - theirs[:, :queries, :keys]).abs().max()), float(rest.sum()))


def _weights(model: nn.Module, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    record = AttentionAnalyzer(model, cache=False).record(inputs=inputs)
    return [entry.weights.full() for entry in record.entries]


def _weights_step_by_step(model: nn.Module, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The same without any fused operation: every softmax runs by itself, and its result is what is kept."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            return _weights(model, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def _version(package: str) -> str:
    return version({"open_clip": "open_clip_torch"}.get(package, package)).partition("+")[0]


def is_installed(package: str) -> bool:
    """Whether a package is here, by the name that recipes use."""
    try:
        _version(package)
    except PackageNotFoundError:
        return False
    return True


def load() -> dict[str, dict[str, Any]]:
    """Findings by module name, in the order of the recipes."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    known = {row["name"]: row for row in map(json.loads, lines)}
    return {recipe.name: known[recipe.name] for recipe in RECIPES if recipe.name in known}


def page(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """``docs/coverage_modules.md``"""
    counts: dict[str, int] = {}
    for row in findings.values():
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    lines = [
        "# Coverage of modules outside of transformers",
        "",
        "Each was built small, with random weights, and run: its outputs are the same bits with and without capture,",
        "and its weights are within 1e-5 of those that torch computes without any fused operation (*difference*).",
        "*exact*: recomputed from queries and keys, which give every output again (*deviation*, relative to the",
        "largest); *weights only*: the model's own numbers, kept where they multiply the values. *captured by* is what",
        "`attn doctor` and `analyzer.diagnose(…)` say. Written by `make conformance-modules` from",
        "`docs/coverage_modules.jsonl`.",
        "",
        ", ".join(f"{count} {state}" for state, count in counts.items()) + ".",
        "",
        "| module | package | state | captured by | sites | heads | deviation | difference |",
        "| --- | --- | --- | --- | ---: | --- | ---: | ---: |",
    ]
    for row in findings.values():
        if row["state"] == "refused":
            lines.append(f"| {row['name']} | {row['package']} | refused | {row['reason']} | | | | |")
            continue
        doors = "; ".join(row["doors"])
        heads = ", ".join(map(str, row["heads"]))
        numbers = f"{row['sites']} | {heads} | {row['deviation']:.0e} | {row['difference']:.0e}"
        lines.append(f"| {row['name']} | {row['package']} | {row['state']} | {doors} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.modules", description=__doc__)
    parser.add_argument("names", nargs="*", help="modules to examine; all whose package is installed by default")
    chosen = set(parser.parse_args().names)
    findings = load()
    console = Console()
    warnings.simplefilter("ignore")
    for recipe in RECIPES:
        if (chosen and recipe.name not in chosen) or not is_installed(recipe.package):
            continue
        finding = examine(recipe.name, recipe.package, recipe.build)
        console.print(f"{finding.name}: {finding.state} {finding.reason}", markup=False, highlight=False)
        findings[finding.name] = json.loads(json.dumps(asdict(finding)))
    ordered = {recipe.name: findings[recipe.name] for recipe in RECIPES if recipe.name in findings}
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in ordered.values()), encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(page(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
