"""``attn corpus`` as a person types it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest

from tests.linguistics.treebank import treebank


@pytest.fixture
def corpus(attn):
    return lambda *arguments: attn("corpus", *arguments)


@pytest.fixture
def store(corpus, tmp_path: Path) -> Path:
    (tmp_path / "bank.conllu").write_text(treebank(12))
    (tmp_path / "more.jsonl").write_text('{"text": "The dog saw a cat."}\n{oops\n')
    folder = tmp_path / "store"
    code, out, err = corpus(
        "scan", tmp_path / "bank.conllu", tmp_path / "*.jsonl", "-o", folder, "-m", "all-MiniLM-L6-v2"
    )
    assert code == 0, err
    assert out.startswith("13 texts, ")
    assert "1 rows were skipped:" in out
    assert "more.jsonl, line 2: the line is no JSON" in out
    return folder


def test_a_scan_and_every_question_to_it(corpus, store: Path, tmp_path: Path) -> None:
    code, out, _ = corpus("heads", store, "previous_token", "-n", 3)
    assert code == 0
    first = out.splitlines()[2].split()
    assert first[:4] == ["encoder", "self", "0", "2"]  # the encoder's well-known previous-token head
    code, out, _ = corpus("heads", store, "-o", tmp_path / "heads.csv")
    assert (code, len(pd.read_csv(tmp_path / "heads.csv"))) == (0, 72)
    code, out, _ = corpus("examples", store, "-l", 0, "-H", 2, "-n", 4)
    assert code == 0
    assert out.count("bank.conllu, line") + out.count("more.jsonl, line") == 4
    code, out, _ = corpus("query", store, "SELECT count(*) AS n FROM texts", "-o", tmp_path / "n.json")
    assert json.loads((tmp_path / "n.json").read_text()) == [{"n": 13}]
    code, out, _ = corpus("search", store, "--from", "pos:DET", "--to", "governor", "-n", 2)
    assert code == 0
    assert out.splitlines()[0].startswith("pos:DET → governor")
    code, out, _ = corpus("search", store, "--from", "pos:DET", "--to", "governor", "-l", 2, "-H", 8)
    assert code == 0
    assert "bank.conllu, line" in out


def test_what_is_left_out_of_an_answer_is_told(corpus, store: Path) -> None:
    (store / "texts/000000.parquet").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = corpus("search", store, "--from", "any", "--to", "any", "--errors", "skip")
    assert code == 0
    assert err.startswith("attn: Skipped because of damage: texts/000000.parquet has 0 bytes")
    assert err.count("\n") == 1


def test_a_query_for_one_huge_value_ends_with_one_sentence(corpus, store: Path) -> None:
    for query in ("SELECT length(repeat('x', 4000000000))", "SELECT list_sum(range(1000000000))"):
        code, _, err = corpus("query", store, query, "--memory", 64)
        assert code == 2
        assert "it needs more than 64 MB" in err


def test_mistakes_end_with_code_2_and_one_sentence(corpus, store: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("heads", store, "entropie"), "no measure 'entropie'"),
        (("heads", tmp_path), "holds no scan"),
        (("search", store, "--from", "any", "--to", "any", "-l", 1), "Give --layer and --head together"),
        (("query", store, "SELEKT"), "cannot be answered"),
        (("examples", store, "-l", 9, "-H", 0), "no head L9H0"),
        (("scan", tmp_path / "gone.txt", "-o", tmp_path / "x", "-m", "demo-encoder"), "no file"),
        (("scan", store.parent / "more.jsonl", "-o", store, "-m", "demo-encoder"), "created with the model"),
        (
            ("scan", store.parent / "more.jsonl", "-o", tmp_path / "y", "-m", "demo-encoder", "--errors", "raise"),
            "Row 1 cannot be used: ",
        ),
        (("scan", "x.txt", "-o", tmp_path / "y", "-m", "demo-encoder", "--errors", "no"), "--errors is raise or skip"),
        (("query", store, "FROM texts", "--errors", "no"), "--errors is raise or skip"),
    ):
        code, _, err = corpus(*arguments)
        assert code == 2, arguments
        assert err.startswith("attn: ")
        assert message in err
