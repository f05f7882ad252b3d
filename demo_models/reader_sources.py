"""How often each method names the part that the reader's answer came from: the table of `docs/parts.md`.

    python -m demo_models.reader_sources --prompts 500

Prompts have held-out facts. Counted are answerable and contradicting ones that the model answers rightly, for which the
source is known; of unanswerable ones, how often no part is named.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import defaultdict

import pandas as pd

from attention_analyzer import AttentionAnalyzer
from demo_models import facts

#: Prompts that the head weights are learned on; none of them is counted.
LEARNED_ON = 40
SHAPE = facts.Shape(held_out=True)


def source_name(one: facts.Example, answer: str) -> str:
    """The section of the prompt that says the answer, as `sources` names it."""
    place = one.sources[one.answers.index(answer)]
    if place.startswith("document"):
        return place
    number = int(place.removeprefix("turn "))
    message = one.messages[number - 1]
    return f"thought {number}" if "reasoning_content" in message else f"{message['role']} {number}"


def learn(analyzer: AttentionAnalyzer) -> None:
    """Head weights from unannotated prompts with training facts."""
    generator = random.Random(100)
    prompts = []
    while len(prompts) < LEARNED_ON:
        one = facts.example(generator, facts.Shape(), "answerable")
        if one.kind == "answerable":
            prompts.append({"messages": list(one.messages), "documents": list(one.documents)})
    analyzer.learn_sources(prompts, max_new_tokens=2)


def measure(analyzer: AttentionAnalyzer, prompts: int, removals: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """One row per method, and the figures of unanswerable prompts and of the recommendation."""
    generator = random.Random(11)
    right: dict[str, list[bool]] = defaultdict(list)
    lds: dict[str, list[float]] = defaultdict(list)
    recommended: list[bool] = []
    silent: list[bool] = []
    opposed: list[bool] = []
    correct: list[bool] = []
    for _ in range(prompts):
        one = facts.example(generator, SHAPE)
        found = analyzer.sources(
            messages=list(one.messages), documents=list(one.documents), removals=removals, max_new_tokens=2
        )
        answer = found.answer.strip()
        correct.append(answer in one.answers)
        if answer not in one.answers:
            continue
        if one.kind == "unanswerable":
            silent.append(found.none)
            continue
        source = source_name(one, answer)
        recommended.append(found.best == source)
        if one.kind == "contradicting":
            opposed.append(bool(found.contradictions))
        for method in found.methods["method"]:
            right[method].append(found.table.loc[found.table[method].idxmax(), "part"] == source)
            value = float(found.methods.set_index("method").loc[method, "lds"])
            lds[method].append(value)
    rows = [
        {"method": name, "right": sum(hits) / len(hits), "prompts": len(hits), "lds": pd.Series(lds[name]).median()}
        for name, hits in right.items()
    ]
    figures = {
        "prompts": len(correct),
        "answers_right": sum(correct) / len(correct),
        "recommended_right": sum(recommended) / len(recommended),
        "none_of_unanswerable": sum(silent) / max(len(silent), 1),
        "unanswerable": len(silent),
        "contradictions_shown": sum(opposed) / max(len(opposed), 1),
        "contradicting": len(opposed),
    }
    return pd.DataFrame(rows), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--removals", type=int, default=32)
    parser.add_argument("--model", default="demo-reader")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        analyzer = AttentionAnalyzer(arguments.model, cache=folder)
        learn(analyzer)
        table, figures = measure(analyzer, arguments.prompts, arguments.removals)
    print(table.to_string(index=False))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
