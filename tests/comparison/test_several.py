"""Three models and more: each with itself, a copy and another one."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.comparison import compare, compare_models
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.metrics import METRICS
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load

TEXTS = ["The cat sat on the mat, and the dog sat on the cat.", "Anna gave Tom the red book."]


def test_a_copy_is_at_distance_zero_and_another_model_as_far_as_in_a_pair() -> None:
    encoder, other = load("demo-encoder"), load("all-MiniLM-L6-v2")
    same = LoadedModel(copy.deepcopy(encoder.model), encoder.tokenizer, encoder.name)
    told: list[tuple[int, int]] = []
    found = compare_models([encoder, same, other], texts=TEXTS, progress=lambda *step: told.append(step))
    assert found.names == ("demo-encoder #1", "demo-encoder #2", "all-MiniLM-L6-v2")
    distances = found.divergence.to_numpy()
    assert distances[0, 1] == distances[1, 0] == 0
    assert distances[0, 2] == distances[2, 0] == compare(encoder, other, texts=TEXTS).divergence > 0.05
    assert np.diag(found.matched).tolist() == [36, 36, 72]
    assert found.matched.iloc[0, 1] == 36
    assert told[0] == (0, 12)
    assert told[-1] == (12, 12)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_tables_are_means_of_the_records() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    found = compare_models([analyzer, "demo-decoder"], texts=TEXTS)
    tables = [analyzer.record(text).heads() for text in TEXTS]
    own = found.heads[found.heads["model"] == "demo-encoder"]
    expected = (tables[0]["entropy"] + tables[1]["entropy"]) / 2
    np.testing.assert_allclose(own["entropy"], expected, rtol=1e-6)
    layer = found.layers[(found.layers["model"] == "demo-encoder") & (found.layers["layer"] == 3)]
    np.testing.assert_allclose(layer["entropy"], own[own["layer"] == 3]["entropy"].mean(), rtol=1e-6)
    assert layer["depth"].item() == pytest.approx(3 / 5)
    assert set(found.layers.columns) >= {metric.name for metric in METRICS}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="At least two models"):
        compare_models(["demo-encoder"], texts=TEXTS)
    with pytest.raises(InputError, match="No texts were given"):
        compare_models(["demo-encoder", "demo-decoder"], texts=[])
    found = compare_models(["demo-encoder", "demo-decoder"], texts=TEXTS[:1])
    with pytest.raises(SelectionError, match="There is no metric 'entropie'"):
        found.plot(["entropie"])
    assert len(found.plot(["entropy", "distance"]).axes) == 2


def test_the_command_shows_all_by_depth(attn, tmp_path: Path) -> None:
    models = ["demo-encoder", "demo-decoder", "--also", "all-MiniLM-L6-v2"]
    code, out, _ = attn("compare", *models, TEXTS[0])
    assert code == 0
    assert "divergence (nats)" in out
    assert "all-MiniLM-L6-v2" in out
    code, out, _ = attn("compare", *models, TEXTS[0], "-o", tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = attn("compare", *models, TEXTS[0], "-o", tmp_path / "page.html")
    assert code == 2
    assert "need two models" in err
