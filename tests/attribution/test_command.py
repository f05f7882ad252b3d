"""``attn tokens`` as a person types it."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from attention_analyzer.cli import main

TEXT = "The dog [MASK] at the cat."


@pytest.fixture
def attn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attn", "tokens", *map(str, arguments), "-m", "demo-encoder"])
        code = 0
        try:
            main.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_tokens_with_their_scores(attn) -> None:
    code, out, _ = attn(TEXT)
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert code == 0
    assert [row[1] for row in rows] == ["[CLS]", "The", "dog", "[MASK]", "at", "the", "cat", ".", "[SEP]"]
    assert sum(float(row[2]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert "Special tokens are scored like all others" in out


def test_method_target_and_special_tokens_by_option(attn, tmp_path: Path) -> None:
    path, picture = tmp_path / "scores.csv", tmp_path / "scores.png"
    options = ["--method", "gradient_attention", "--target", "mask=looked", "--special", "apart", "--unit", "word"]
    code, out, _ = attn(TEXT, *options, "--figure", picture)
    assert code == 0
    assert "gradient × attention, for 'looked' in place of the mask at 3" in out
    assert "[SEP]: 0." in out
    with Image.open(picture) as drawn:
        assert drawn.width > 500
    assert attn(TEXT, *options, "-o", path)[0] == 0
    assert pd.read_csv(path)["score"].sum() == pytest.approx(1)


def test_methods_are_compared(attn, tmp_path: Path) -> None:
    path, picture = tmp_path / "methods.csv", tmp_path / "methods.png"
    options = ["--compare", "--method", "received", "--method", "gradient_attention", "--deletion", "hide"]
    code, out, _ = attn(TEXT, *options, "--figure", picture, "-o", path)
    assert code == 0
    with Image.open(picture) as drawn:
        assert drawn.width > 1000
    assert set(pd.read_csv(path)["method"]) == {"received", "gradient_attention", "random"}
    code, out, _ = attn(TEXT, *options)
    assert code == 0
    assert "comprehensiveness" in out
    assert "A deleted token: it becomes the padding token" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "magic"], "There is no attribution method 'magic'"),
        (["--target", "next"], "sees the whole text at once"),
        (["--method", "received", "--method", "norm"], "are for --compare"),
        (["--deletion", "mask"], "are for --compare"),
        (["--figure", "x.gif"], "figures are written as"),
        (["-o", "x.txt"], "tables are written as"),
    ],
)
def test_mistakes_end_in_one_sentence(attn, options: list[str], message: str) -> None:
    code, _, err = attn(TEXT, *options)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err
