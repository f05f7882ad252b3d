"""``docs/coverage.md`` from the sweep's results: nothing in it is written by hand but the sentences here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.conformance.results import RESULTS, Findings, counts

PAGE = RESULTS.with_name("coverage.md")

_HEAD = """\
# Coverage

Which of the architectures of transformers {version} are shown as they are, found by examining every entry of its
configuration table ({known} types), each as a small model with random weights. This page is written by
`make conformance`, from `docs/coverage.jsonl`; a test fails if the two differ.

{summary}

Of the {attending} types that have attention of their own, **{share}** are exact or weights only.
"""

_STATES = {
    "exact": "weights are recomputed from the queries and keys of every site, and give its output again",
    "weights only": "some or all weights are the model's own numbers, heard where they multiply the values",
    "refused": "its attention is not of the form `[head, query, key]`; the reason is what a user sees",
    "no attention": "nothing in it attends",
    "part": "a configuration of a part that no model class takes by itself; covered with the models it is a part of",
    "not here": "needs a package that was not installed where the sweep ran",
    "not built": "no small model could be made",
    "failed": "the examination found a fault",
    "not yet examined": "`make conformance` goes on with these",
}

_CHECKS = """\
## What was checked

For each type, under each attention implementation that it supports on a CPU (eager, sdpa, flex attention), on a batch
of two texts (or images, sounds), as they are and with one of them padded on the right and on the left:

- the model's outputs are bit-identical with and without capture, and nothing is left on the model;
- the output of every site, rebuilt from weights and values, equals the module's own (*deviation*: the largest
  difference, relative to the largest output; below 1e-4);
- the weights equal those that the model computes under eager attention (below 1e-5; across implementations, whose own
  rounding adds up, 1e-3), call by call, and what the model hands over with `output_attentions=True`, where it does;
- rows sum to one, or to what a sink leaves;
- sites are as many as attention was computed, at the same places, each with a name of its own;
- every metric equals a slow reference written as loops;
- reading a text token by token with a cache gives the rows of reading it at once.

Where a model itself gives other outputs under another implementation than under eager (some mask nothing there), or
fails under it, eager weights are no witness: a site's own output is then the only one, and the column *implementations*
has that name in brackets.

Types that have no eager attention (Qwen 2.5 Omni's speech) are compared with torch's own, computed as a softmax and a
product. Gemma 4's assistants cannot be built as their configuration asks, with all keys another model's, by this
version of the library; they were examined with two layers that have keys of their own.
"""


def write(findings: Findings, path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(findings), encoding="utf-8")


def page(findings: Findings) -> str:
    """The whole page."""
    ordered = [findings[name] for name in sorted(findings)]
    states = {state: [f for f in ordered if f["state"] == state] for state in _STATES}
    sections = [_head(findings), _CHECKS]
    sections += [_section(state, _table(states[state])) for state in ("exact", "weights only") if states[state]]
    sections += [
        _section(state, _reasons(states[state]))
        for state in ("refused", "not here", "not built", "failed")
        if states[state]
    ]
    sections += [
        _section(state, [", ".join(f["type"] for f in states[state])])
        for state in ("no attention", "part")
        if states[state]
    ]
    return "\n".join(sections)


def _section(title: str, lines: Iterable[str]) -> str:
    return f"## {title.capitalize()}\n\n" + "\n".join(lines) + "\n"


def _reasons(findings: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "| type | reason |"
    yield "| --- | --- |"
    for finding in findings:
        yield f"| {finding['type']} | {_cell(finding['reason'])} |"


def _head(findings: Findings) -> str:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    found = counts(findings.values())
    left = len(set(CONFIG_MAPPING_NAMES) - set(findings))
    if left:
        found["not yet examined"] = left
    summary = ["| state | types | meaning |", "| --- | ---: | --- |"]
    summary += [f"| {state} | {number} | {_STATES[state]} |" for state, number in found.items()]
    good = found.get("exact", 0) + found.get("weights only", 0)
    attending = good + sum(found.get(state, 0) for state in ("refused", "not built", "failed"))
    versions = sorted({finding["transformers"] for finding in findings.values()} - {""})
    return _HEAD.format(
        version=", ".join(versions),
        known=len(CONFIG_MAPPING_NAMES),
        summary="\n".join(summary),
        attending=attending,
        share=f"{good / attending:.1%}" if attending else "none",
    )


def _table(findings: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "| type | model | implementations | special | sites | padding | cache | deviation | weights |"
    yield "| --- | --- | --- | --- | ---: | --- | --- | ---: | ---: |"
    for finding in findings:
        agreeing = [
            name.removesuffix("_attention") if verdict == "agrees" else f"({name.removesuffix('_attention')})"
            for name, verdict in finding["backends"].items()
        ]
        special = [form for form in finding["forms"] if form != "computed by the model"]
        cells = (
            finding["type"],
            finding["model"],
            " ".join(agreeing),
            ", ".join(special),
            str(len(finding["sites"])),
            " ".join(side for side in finding["paddings"] if side != "none"),
            {"agrees": "yes", "": ""}.get(finding["cache"], f"({finding['cache']})"),
            f"{finding['deviation']:.0e}" if finding["deviation"] else "",
            f"{finding['weights_error']:.0e}",
        )
        yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
