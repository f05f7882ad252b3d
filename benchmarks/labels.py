"""How well labels tell the truth: ``python -m benchmarks.labels`` measures it and writes it into docs/patterns.md.

Planted models are known by construction (``tests/patterns/planted.py``). The demo-decoder's heads are measured by code
of its own training, on whole matrices of other random repeats. Heads with random weights do nothing on purpose.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from attention_analyzer import AttentionAnalyzer
from demo_models import probes
from tests.patterns import planted as plan

PAGE = Path(__file__).resolve().parent.parent / "docs" / "patterns.md"
SEEDS = range(4)
#: Heads between these strengths are neither clearly of a kind nor clearly not.
CLEARLY, CLEARLY_NOT = 0.6, 0.4
#: What is true of heads that spread evenly or look anywhere.
DESCRIPTIONS = {"broad", "mixed"}


def planted_rows() -> list[list[str]]:
    rows = []
    for is_decoder, layers, name in ((True, plan.DECODER, "planted decoder"), (False, plan.ENCODER, "planted encoder")):
        scores = [plan.scored(plan.planted(is_decoder).label_heads(plan.texts(8, seed)), layers) for seed in SEEDS]
        rows.append(
            row(name, *(sum(getattr(score, part) for score in scores) for part in ("found", "planted", "false")))
        )
    return rows


def demo_rows() -> list[list[str]]:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False, attn_implementation="eager")
    ids = probes.repeated_random_tokens(len(analyzer.tokenizer), analyzer.tokenizer.bos_token_id, seed=5)
    truth = probes.repetition_strengths(probes.attention_weights(analyzer.model, ids))
    labels = analyzer.label_heads(plan_texts())
    rows = []
    for name in ("previous_token", "induction"):
        is_it = {(layer, head) for layer, head in (truth[name] > CLEARLY).nonzero().tolist()}
        is_not = {(layer, head) for layer, head in (truth[name] < CLEARLY_NOT).nonzero().tolist()}
        found = set(labels.of(name))
        rows.append(row(f"demo-decoder, {name}", len(found & is_it), len(is_it), len(found & is_not)))
    return rows


def plan_texts() -> list[str]:
    """Written for this purpose: the training probes' own text, sentence by sentence pair."""
    sentences = re.split(r"(?<=\.) ", probes.PROBE_TEXT)
    return [" ".join(sentences[start : start + 2]) for start in range(0, len(sentences) - 1, 2)]


def random_rows() -> list[list[str]]:
    rows = []
    for sharpness, untrained in ((1, False), (1, True), (20, False)):
        heads, tests, false, described = 0, 0, 0, 0
        for family in ("llama", "bert"):
            for seed in SEEDS:
                model = plan.random_model(family, sharpness, seed)
                found = model.label_heads(plan.texts(5, seed), untrained=untrained, seed=99)
                heads, tests = heads + len(found.heads), tests + int(found.table["p"].notna().sum())
                others = ~found.labels["pattern"].isin(DESCRIPTIONS)
                false, described = false + int(others.sum()), described + int((~others).sum())
        name = f"scores × {sharpness}" + (", untrained control" if untrained else "")
        rows.append([name, f"{heads}", f"{tests:,}", f"{false}", f"{described}"])
    return rows


def row(name: str, found: int, there: int, false: int) -> list[str]:
    precision = f"{found / (found + false):.2f}" if found + false else "–"
    return [name, f"{there}", f"{found}", f"{false}", precision, f"{found / there:.2f}"]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]
    return "\n".join(lines)


def main() -> None:
    known = markdown(["labels", "true", "found", "false", "precision", "recall"], [*planted_rows(), *demo_rows()])
    print(known, file=sys.stderr, flush=True)
    chance = markdown(["random weights", "heads", "tests", "false names", "broad or mixed"], random_rows())
    block = f"<!-- labels:start -->\n{known}\n\n{chance}\n<!-- labels:end -->"
    print(block)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(r"<!-- labels:start -->.*<!-- labels:end -->", lambda _: block, page, flags=re.DOTALL), "utf-8"
    )


if __name__ == "__main__":
    main()
