"""Numbers that rest on too little say so, wherever a result is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.result import COVERAGE, ENOUGH, Basis
from attention_analyzer.stats import bootstrap_interval

TEXTS = ["Tom saw a red bird.", "The dog ran to the man.", "A man sat on the bed and read."]


@pytest.mark.parametrize("count", COVERAGE)
def test_how_often_an_interval_over_so_few_holds_the_mean(count: int) -> None:
    draws = np.random.default_rng(count).normal(size=(count, 3000))
    low, high = bootstrap_interval(draws, 500)
    held = 100 * float(((low < 0) & (high > 0)).mean())
    assert held == pytest.approx(COVERAGE[count], abs=2.5)


def test_what_is_said_of_a_count() -> None:
    assert Basis(3).cautions() == (
        "rests on 3 texts: over so few, a 95% interval holds the mean about 75% of the time",
    )
    assert Basis(1, "pair").cautions() == ("rests on 1 pair: there is no interval, and another pair may differ",)
    assert Basis(ENOUGH).cautions() == ()
    assert set(COVERAGE) == set(range(2, ENOUGH))


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def test_a_result_says_it_everywhere(decoder: AttentionAnalyzer, tmp_path: Path) -> None:
    found = decoder.head_importance(TEXTS)
    said = "rests on 3 texts"
    page = found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(said in shown for shown in (repr(found), found._repr_html_(), page))


def test_enough_texts_say_nothing(decoder: AttentionAnalyzer) -> None:
    found = decoder.depth_profile([f"{text} {n}" for n in range(4) for text in TEXTS], metrics=["entropy"])
    assert found.texts >= ENOUGH
    assert found.cautions() == ()
    assert "rests on" not in repr(found)


def test_results_of_several_kinds(decoder: AttentionAnalyzer) -> None:
    assert decoder.compare(texts=TEXTS[:1], other_texts=["Tom saw a big bird."]).cautions() == Basis(1).cautions()
    assert decoder.label_heads(TEXTS, probes=False).cautions() == Basis(3).cautions()
    assert decoder.programs(TEXTS * 2).cautions() == Basis(3).cautions()
    judged = decoder.compare_attributions("Tom saw", methods=["received", "norm"], seeds=2)
    assert judged.cautions() == (
        f"rests on {len(judged.deletable)} tokens or words: rank correlations of so few say little",
    )


def test_commands_say_it_on_standard_error(attn: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    code, out, complaint = attn("heads", "importance", file, "--model", "demo-decoder")
    assert code == 0
    assert "attn: rests on 3 texts" in complaint
    assert "rests on" not in out
