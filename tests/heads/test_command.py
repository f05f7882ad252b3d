"""``attn heads`` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.linguistics.treebank import treebank

MODEL = ("-m", "demo-encoder")


@pytest.fixture
def heads(attn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    lines = ["The cat sat on the mat.", "She was not afraid.", "", "It was a cold day.", "He went home to eat."]
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    return lambda *arguments: attn("heads", *arguments)


def test_similarity(heads) -> None:
    code, out, _ = heads("similarity", "texts.txt", *MODEL, "--clusters", "3", "--figure", "s.png")
    assert code == 0
    assert Path("s.png").stat().st_size > 10_000
    assert "Clusters: 3 (silhouette" in out
    assert "4 texts" in out
    code, _, err = heads("similarity", "only one text", *MODEL)
    assert (code, "At least 3 texts" in err) == (2, True)


def test_importance(heads) -> None:
    code, out, _ = heads("importance", "texts.txt", *MODEL, "-o", "i.csv")
    assert (code, "36 rows written" in out) == (0, True)
    assert "Baseline (no ablation): loss of hidden tokens (nats)" in out
    assert pd.read_csv("i.csv")["normalized"].between(0, 1).all()
    code, out, _ = heads("importance", "texts.txt", *MODEL, "--method", "ablation", "--heads", "L2H4", "--heads", "L1")
    assert (code, "L2H4" in out) == (0, True)
    _, old, _ = heads("importance", "texts.txt", *MODEL, "--method", "silence", "--heads", "L2H4", "--heads", "L1")
    assert old == out, "the old name of a method works"
    code, _, err = heads("importance", "texts.txt", *MODEL, "--method", "surgery")
    assert (code, "not one of 'gradient', 'ablation'" in err) == (2, True)
    code, _, err = heads("importance", "texts.txt", *MODEL, "--heads", "L2H4")
    assert (code, "the method ablation" in err) == (2, True)


def test_pruning(heads) -> None:
    code, _, _ = heads("pruning", "texts.txt", *MODEL, "-o", "p.csv", "--figure", "p.png")
    assert code == 0
    assert set(pd.read_csv("p.csv")["order"]) == {"by importance", "at random"}


def test_depth(heads) -> None:
    Path("some.conllu").write_text(treebank(3), encoding="utf-8")
    code, out, _ = heads("depth", "some.conllu", *MODEL, "--figure", "d.png")
    assert (code, "syntax_expected" in out) == (0, True)
    code, out, _ = heads("depth", "texts.txt", *MODEL, "--metrics", "-o", "d.csv")
    assert code == 0
    assert set(pd.read_csv("d.csv")["layer"]) == set(range(6))
