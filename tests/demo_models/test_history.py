"""The shipped history of the decoder's heads: complete, plausible, and the last row is the model."""

from __future__ import annotations

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo_models.history import FOLDER, head_statistics

COLUMNS = [
    "step", "tokens_seen", "loss", "stack", "kind", "layer", "head",
    "entropy", "max_weight", "distance", "self_weight", "previous_weight", "first_weight",
    "induction", "previous_token", "duplicate_token", "pattern", "pattern_queries",
]  # fmt: skip


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "history.parquet")


def test_has_one_row_per_moment_and_head(history) -> None:
    assert list(history.columns) == COLUMNS
    assert 25 <= history["step"].nunique() <= 35
    assert (history.groupby("step").size() == 30).all()
    assert not history.drop(columns="pattern").isna().any(axis=None)
    # Patterns are kept where the weights are: early, middle and last.
    assert history.groupby("step")["pattern"].count()[lambda count: count > 0].to_dict() == {
        905: 30,
        3651: 30,
        4500: 30,
    }


def test_loss_falls_and_induction_appears(history) -> None:
    by_step = history.groupby("step").agg(loss=("loss", "first"), induction=("induction", "max"))
    assert by_step["loss"].iloc[0] > by_step["loss"].iloc[-1] + 3
    assert by_step["induction"].iloc[0] < 0.1
    assert by_step["induction"].iloc[-1] > 0.3


def test_the_last_moment_is_the_bundled_model(history, decoder) -> None:
    last = history[history["step"] == history["step"].max()].sort_values(["layer", "head"])
    for name, values in head_statistics(*decoder).items():
        # The bundled weights are rounded to float16, those of the history were not.
        assert last[name].to_numpy() == pytest.approx(values.flatten().numpy(), abs=0.02, rel=0.02), name


@pytest.mark.parametrize("name", ["early", "middle"])
def test_checkpoints_load_and_are_small(name: str) -> None:
    assert sum(file.stat().st_size for file in (FOLDER / name).rglob("*")) <= 6_500_000
    model = AutoModelForCausalLM.from_pretrained(FOLDER / name, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / name)
    assert model.config.num_hidden_layers == 5
    assert head_statistics(model, tokenizer)["induction"].shape == (5, 6)
