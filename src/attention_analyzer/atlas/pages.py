"""The pages of an atlas. Whatever a text or a name holds is escaped: it reaches the pages as text, never as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from attention_analyzer.atlas.content import AtlasModel
from attention_analyzer.atlas.examples import PARTS

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src {script}; img-src data:"
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{style}</style></head>
"""
_PART_TITLES = {
    "top": "Where the sentence explains most (top tenth of the texts)",
    "middle": "In between (middle tenth)",
    "bottom": "Where it explains least (bottom tenth)",
}


def static(name: str) -> str:
    return (files("attention_analyzer.atlas") / "static" / name).read_text(encoding="utf-8")


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def index_page(models: Sequence[AtlasModel], folders: Sequence[str], matches: dict[str, str]) -> str:
    """The map of all heads, with search.

    Args:
        folders: where the pages of each model's heads are; ``matches``: heads of the second by those of the first.
    """
    shown = [
        {
            "name": model.name,
            "facts": model.facts,
            "folder": folder,
            "heads": [
                {name: head[name] for name in ("name", "layer", "sentence", "labels", "numbers")}
                for head in model.heads
            ],
        }
        for model, folder in zip(models, folders, strict=True)
    ]
    title = " and ".join(model.name for model in models)
    head = _HEAD.format(
        policy=_POLICY.format(script="'unsafe-inline'"), title=escape(f"Atlas of {title}"), style=static("atlas.css")
    )
    data = embedded({"models": shown, "matches": matches})
    return (
        f"{head}<body><h1>{escape(title)}</h1><noscript>The map needs JavaScript; "
        '<a href="atlas.json">atlas.json</a> has every number.</noscript>'
        f'<main id="atlas"></main><script type="application/json" id="data">{data}</script>'
        f"<script>{static('atlas.js')}</script></body></html>\n"
    )


def head_page(model: AtlasModel, number: int, match: str = "") -> str:
    """One head's page; it needs no script.

    Args:
        match: the page of its counterpart in another model, relative to this one.
    """
    head = model.heads[number]
    title = f"{head['name']} of {model.name}"
    before, after = (
        model.heads[index]["name"] if 0 <= index < len(model.heads) else "" for index in (number - 1, number + 1)
    )
    turns = [
        f'<a href="{name}.html">{text}</a>' for name, text in ((before, f"← {before}"), (after, f"{after} →")) if name
    ]
    turns.append(f'<a href="{head["name"]}.json">JSON</a>')
    parts = [
        f'<nav><a href="../../index.html#head={head["name"]}">All heads</a> {" ".join(turns)}</nav>',
        f"<h1>{escape(title)}</h1><p class=sentence>{escape(head['sentence'])}</p>",
        _facts(head),
        _terms(head),
        _deciles(head),
        _similar(head, match),
        _examples(head),
    ]
    start = _HEAD.format(policy=_POLICY.format(script="'none'"), title=escape(title), style=static("atlas.css"))
    return f"{start}<body class=head>{''.join(parts)}</body></html>\n"


def _facts(head: dict[str, Any]) -> str:
    numbers = head["numbers"]
    interval = f"{_percent(numbers['low'])}–{_percent(numbers['high'])} over texts"
    even, other = _percent(numbers["even"]), _percent(numbers["other"])
    said = [
        f"explained {_percent(numbers['explained'])} ({interval})",
        f"evenly spread weights would explain {even}, another head's program {other}",
    ]
    if not head["above_controls"]:
        said.append("not above its controls")
    if head["labels"]:
        said.append("labeled " + ", ".join(name.replace("_", " ") for name in head["labels"]))
    if "knock_out" in head:
        effect = head["knock_out"]
        said.append(
            f"knocked out: {effect['of']} {effect['importance']:+.3g} ({effect['low']:+.3g} to {effect['high']:+.3g})"
        )
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{value:.3g}</td></tr>"
        for name, value in numbers.items()
        if value is not None
    )
    listed = "".join(f"<li>{escape(each)}</li>" for each in said)
    return f"<ul class=facts>{listed}</ul><details><summary>All numbers</summary><table>{rows}</table></details>"


def _terms(head: dict[str, Any]) -> str:
    rows = "".join(map(_term, head["terms"]))
    return f"<h2>Program</h2><table class=terms>{rows}</table>"


def _term(term: dict[str, Any]) -> str:
    condition = "" if term["condition"] == "always" else escape(term["condition"])
    bar = f'<span class=bar style="--share:{term["share"] or 0:.3f}"></span>'
    return (
        f"<tr><td>{condition}</td><th>{escape(term['rule'])}</th><td>{bar}</td><td>{_percent(term['share'])}</td></tr>"
    )


def _deciles(head: dict[str, Any]) -> str:
    bars = "".join(
        f'<span class=column style="--share:{value:.3f}" title="{value:.0%}"></span>' for value in head["deciles"]
    )
    return (
        "<h2>Over all texts</h2><p class=faint>How much the program explains, in each tenth of the texts.</p>"
        f"<div class=columns>{bars}</div>"
    )


def _similar(head: dict[str, Any], match: str) -> str:
    links = [
        f'<a href="{each["name"]}.html">{each["name"]}</a> <span class=faint>{each["distance"]:.2f}</span>'
        for each in head["similar"]
    ]
    told = ("<h2>Similar heads</h2><p>" + " · ".join(links) + "</p>") if links else ""
    if match:
        name = match.rsplit("/", 1)[-1].removesuffix(".html")
        told += f'<p>In the other model: <a href="{escape(match)}">{escape(name)}</a></p>'
    return told


def _examples(head: dict[str, Any]) -> str:
    told = []
    for part in PARTS:
        chosen = [example for example in head["examples"] if example["part"] == part]
        if chosen:
            told.append(f"<h2>{escape(_PART_TITLES[part])}</h2>{''.join(map(_example, chosen))}")
    return "".join(told)


def _example(example: dict[str, Any]) -> str:
    most = max(example["received"], default=0) or 1
    tokens = "".join(
        f'<span class=token style="--w:{value / most:.2f}" title="{value:.3f}">{escape(piece)}</span>'
        for piece, value in zip(example["tokens"], example["received"], strict=True)
    )
    queries = example.get("queries", example["tokens"])
    links = "".join(
        f"<span class=link>{escape(queries[query])} → {escape(example['tokens'][key])} <b>{weight:.2f}</b></span>"
        for query, key, weight in example["links"]
    )
    share = f"<p class=faint>explained {_percent(example['explained'])}</p>"
    return f"<section>{share}<p class=text dir=auto>{tokens}</p><p class=links>{links}</p></section>"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
