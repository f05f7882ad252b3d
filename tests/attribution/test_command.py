"""``attn tokens`` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

TEXT = "The dog [MASK] at the cat."


@pytest.fixture
def tokens(attn):
    return lambda *arguments: attn("tokens", *arguments, "-m", "demo-encoder")


def test_tokens_with_their_scores(tokens) -> None:
    code, out, _ = tokens(TEXT)
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert code == 0
    assert [row[1] for row in rows] == ["[CLS]", "The", "dog", "[MASK]", "at", "the", "cat", ".", "[SEP]"]
    assert sum(float(row[2]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert "Special tokens are included" in out


def test_method_target_and_special_tokens_by_option(tokens, tmp_path: Path) -> None:
    path, picture = tmp_path / "scores.csv", tmp_path / "scores.png"
    options = ["--method", "gradient_attention", "--target", "mask=looked", "--special", "apart", "--unit", "word"]
    code, out, _ = tokens(TEXT, *options, "--figure", picture)
    assert code == 0
    assert "gradient × attention, for 'looked' in place of the mask at 3" in out
    assert "[SEP]: 0." in out
    with Image.open(picture) as drawn:
        assert drawn.width > 500
    assert tokens(TEXT, *options, "-o", path)[0] == 0
    assert pd.read_csv(path)["score"].sum() == pytest.approx(1)


def test_methods_are_compared(tokens, tmp_path: Path) -> None:
    path, picture = tmp_path / "methods.csv", tmp_path / "methods.png"
    options = ["--compare", "--method", "received", "--method", "gradient_attention", "--deletion", "hide"]
    code, out, _ = tokens(TEXT, *options, "--figure", picture, "-o", path)
    assert code == 0
    with Image.open(picture) as drawn:
        assert drawn.width > 1000
    assert set(pd.read_csv(path)["method"]) == {"received", "gradient_attention", "random"}
    code, out, _ = tokens(TEXT, *options)
    assert code == 0
    assert "comprehensiveness" in out
    assert "A deleted token: replaced by padding and masked" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "magic"], "There is no attribution method 'magic'"),
        (["--target", "next"], "sees the whole text at once"),
        (["--method", "received", "--method", "norm"], "need --compare"),
        (["--deletion", "mask"], "need --compare"),
        (["--figure", "x.gif"], "figures are written as"),
        (["-o", "x.txt"], "tables are written as"),
    ],
)
def test_mistakes_end_in_one_sentence(tokens, options: list[str], message: str) -> None:
    code, _, err = tokens(TEXT, *options)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err
