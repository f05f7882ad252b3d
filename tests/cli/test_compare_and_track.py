"""``attn compare`` and ``attn track`` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

TEXTS = ["demo-encoder", "demo-encoder", "The cat sat on the mat.", "--other-text", "The cat slept on the mat."]


@pytest.mark.parametrize("suffix", [".csv", ".png", ".html"])
def test_compare_writes_what_the_suffix_says(attn, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"difference{suffix}"
    code, out, _ = attn("compare", *TEXTS, "-o", path)
    assert code == 0
    assert "Jensen–Shannon" in out and str(path) in out
    if suffix == ".csv":
        assert len(pd.read_csv(path)) == 36
    elif suffix == ".html":
        assert "attention-head" in path.read_text(encoding="utf-8")
    else:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_track_reads_a_history_and_draws_it(attn, tmp_path: Path) -> None:
    code, out, _ = attn("track", "demo-decoder-history", "--figure", tmp_path / "history.png")
    assert code == 0
    assert "Induction: L4H2 was the first" in out
    assert (tmp_path / "history.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "demo-encoder", "demo-encoder", "hi", "-o", "x.gif"], "suffix '.gif'"),
        (["track", "nowhere"], "There is no folder nowhere"),
        (["track", "demo-decoder-history", "-o", "x"], "is already a history"),
    ],
)
def test_mistakes_end_in_one_clear_line(attn, tmp_path: Path, monkeypatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = attn(*arguments)
    assert code == 2
    assert says in err and len(err.strip().splitlines()) == 1
