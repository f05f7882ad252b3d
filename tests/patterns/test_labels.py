"""Names of heads against planted models, random weights and known heads; tables, picture, command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.patterns import PATTERNS, pattern_named
from attention_analyzer.patterns.labels import HeadLabels, label_heads, untrained_model
from demo_models import probes
from tests.patterns import planted as plan

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "The old man walked down the road, and his dog ran ahead of him. It was a warm evening in June.",
    "Maria bought three apples, two pears and a loaf of bread. She paid with a coin that her brother had found.",
    "When the rain stopped, the children went out to play; the streets were still wet. Nobody saw the cat.",
    "The committee will meet on Monday to discuss the plan. If it is accepted, work will begin in the spring.",
    "The river was high after the storm. Two boats had been carried away, and one of them was never found.",
    "Most birds fly south in the autumn. Some stay all winter, because people feed them in their gardens.",
)


@pytest.fixture(scope="module")
def planted_decoder() -> HeadLabels:
    return plan.planted().label_heads(plan.texts())


@pytest.fixture(scope="module")
def demo_decoder() -> HeadLabels:
    return AttentionAnalyzer("demo-decoder", cache=False).label_heads(TEXTS)


def test_planted_heads_of_a_decoder_are_found_and_no_others(planted_decoder: HeadLabels) -> None:
    score = plan.scored(planted_decoder, plan.DECODER)
    assert (score.precision, score.recall) == (1, 1)


def test_planted_heads_of_an_encoder_are_found_and_no_others() -> None:
    # A model without a logit says nothing of retrieval and copying.
    found = plan.planted(is_decoder=False).label_heads(plan.texts(seed=1))
    score = plan.scored(found, plan.ENCODER)
    assert (score.precision, score.recall) == (1, 1)
    assert not {"retrieval", "copying"} & set(found.table["pattern"])


def test_the_most_specific_name_comes_first(planted_decoder: HeadLabels) -> None:
    heads = planted_decoder.heads.set_index(["layer", "head"])
    assert heads.loc[(0, 3), "name"] == "first_token"
    assert heads.loc[(0, 3), "also"] == "special_token, vertical"
    assert heads.loc[(1, 0), "name"] == "induction"
    assert heads.loc[(0, 0), "strength"] > 0.95
    assert planted_decoder.of("previous_token") == [(0, 0)]


def test_offset_and_stripe_are_told(planted_decoder: HeadLabels) -> None:
    labels = planted_decoder.labels.set_index(["layer", "head", "pattern"])
    assert labels.loc[(0, 2, "fixed_offset"), "which"] == "-3"
    assert labels.loc[(0, 3, "vertical"), "which"].split(", ")[0] == "<s>"
    assert labels.loc[(0, 0, "previous_token"), "which"].eq("").all()


def test_the_table_is_whole_and_in_range(planted_decoder: HeadLabels) -> None:
    table = planted_decoder.table
    numbers = table[["strength", "low", "high", "chance", "position"]].to_numpy()
    assert ((numbers > -1e-6) & (numbers < 1 + 1e-6) | np.isnan(numbers)).all()
    known = table.dropna(subset="low")
    assert (known["low"] <= known["strength"] + 1e-9).all()
    assert (known["strength"] <= known["high"] + 1e-9).all()
    assert not table.duplicated(["layer", "head", "pattern", "measured_on"]).any()
    assert (table["q"] >= table["p"] - 1e-12)[table["p"].notna()].all()
    # Every pattern but those that the texts cannot show has a row for every head.
    assert set(table["pattern"]) == {pattern.name for pattern in PATTERNS} - {"separator"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("family", "sharpness"), [("llama", 1), ("llama", 20), ("bert", 1), ("bert", 20)])
def test_random_weights_earn_no_names(family: str, sharpness: float, seed: int) -> None:
    """Random heads spread evenly or, with sharp scores, look anywhere: both have a name, and no other is earned."""
    found = plan.random_model(family, sharpness, seed).label_heads(
        plan.texts(5, seed), untrained=sharpness == 1, seed=99
    )
    assert set(found.labels["pattern"]) <= ({"mixed"} if sharpness > 1 else set())


def test_known_heads_of_the_demo_decoder(demo_decoder: HeadLabels) -> None:
    """Against whole matrices of other random repeats, measured by code of the model's own training."""
    analyzer = AttentionAnalyzer("demo-decoder", cache=False, attn_implementation="eager")
    ids = probes.repeated_random_tokens(len(analyzer.tokenizer), analyzer.tokenizer.bos_token_id, seed=5)
    truth = probes.repetition_strengths(probes.attention_weights(analyzer.model, ids))
    for name, strengths in truth.items():
        clear = {(layer, head) for layer, head in (strengths > 0.6).nonzero().tolist()}
        possible = {(layer, head) for layer, head in (strengths > 0.4).nonzero().tolist()}
        assert clear <= set(demo_decoder.of(name)) <= possible, name
    assert set(demo_decoder.of("induction")) == {(4, 2), (4, 3)}
    card = json.loads((ROOT / "src/attention_analyzer/models/bundled/demo-decoder/measured.json").read_text())
    for head in card["heads"]["previous_token"]:
        assert (head["layer"], head["head"]) in demo_decoder.of("previous_token")


def test_induction_heads_of_the_demo_decoder_copy_and_retrieve(demo_decoder: HeadLabels) -> None:
    assert {(4, 2), (4, 3)} <= set(demo_decoder.of("copying"))
    assert (4, 2) in demo_decoder.of("retrieval")


def test_records_of_several_texts_can_be_labeled() -> None:
    analyzer = plan.planted()
    found = label_heads(analyzer.record(plan.texts(5)))
    assert (0, 0) in found.of("previous_token")
    assert set(found.table["measured_on"]) == {"texts"}


def test_probes_are_texts_of_their_own() -> None:
    table = plan.planted().label_heads(plan.texts(3), patterns=[pattern_named("induction")], probes=False).table
    assert set(table["measured_on"]) == {"texts"}
    assert table["texts"].max() <= 3


def test_thresholds_and_patterns_can_be_chosen() -> None:
    chosen = [pattern_named("broad")]
    strict = plan.planted().label_heads(plan.texts(3), patterns=chosen, thresholds={"broad": 0.999})
    assert strict.of("broad") == []
    assert set(strict.table["pattern"]) == {"broad"}


def test_what_cannot_be_labeled_is_refused() -> None:
    analyzer = plan.planted()
    records = analyzer.record(plan.texts(3))
    with pytest.raises(InputError, match=r"at least 3 texts.*2 given"):
        analyzer.label_heads(plan.texts(2))
    with pytest.raises(InputError, match="not str"):
        analyzer.label_heads("one text")
    with pytest.raises(SelectionError, match="no pattern 'nosuch'"):
        analyzer.label_heads(plan.texts(3), thresholds={"nosuch": 1.0})
    with pytest.raises(InputError, match="from a model, not from records"):
        label_heads(records, untrained=True)
    with pytest.raises(InputError, match="records and texts"):
        label_heads(records, plan.texts(3))
    with pytest.raises(InputError, match="different models"):
        label_heads([*records, plan.planted(is_decoder=False).record(plan.texts(1)[0])])
    with pytest.raises(InputError, match=r"at least 3 texts.*0 given"):
        label_heads([])


def test_the_model_and_the_random_state_are_left_alone() -> None:
    analyzer = plan.planted()
    before, state = analyzer.fingerprint, torch.random.get_rng_state()
    analyzer.label_heads(plan.texts(3), untrained=True)
    assert analyzer.fingerprint == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in analyzer.model.modules())


def test_one_text_s_table_says_what_the_matrix_says() -> None:
    analyzer = plan.planted()
    text = plan.texts(1, seed=3)[0]
    record = analyzer.record(text)
    table = record.patterns().set_index(["layer", "head", "pattern"])
    analysis = analyzer.analyze_pattern(record.weights(0), record.tokens)
    for head, single in enumerate(analysis["heads"]):
        for name, strength in single["patterns"].items():
            assert table.loc[(0, head, name), "strength"] == pytest.approx(strength, abs=1e-6), (head, name)
        assert [name for name in table.loc[(0, head)].index if table.loc[(0, head, name), "shows"]] == single["shows"]
    assert table.loc[(0, 2, "fixed_offset"), "which"] == "-3"
    assert table.loc[(0, 3, "vertical"), "which"].startswith("<s>")


def test_cross_attention_has_the_patterns_that_need_no_diagonal() -> None:
    record = AttentionAnalyzer("demo-translator").record(("on 4 June 2001", "2001-06-04"))
    table = record.patterns()
    cross = table[table["kind"] == "cross"]
    assert {"broad", "vertical", "first_token"} <= set(cross["pattern"])
    assert not {"previous_token", "self", "local_window", "induction"} & set(cross["pattern"])


def test_the_picture_shows_every_head(planted_decoder: HeadLabels) -> None:
    figure = planted_decoder.plot()
    shown = [text.get_text() for text in figure.axes[0].texts]
    named = planted_decoder.heads[planted_decoder.heads["name"] != ""]
    assert len(shown) == len(named)
    assert any(text.startswith("-3\n") for text in shown)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(text.startswith("previous token") for text in legend)


def test_the_command(attn, tmp_path: Path) -> None:
    def printed(*arguments: object) -> str:
        code, out, err = attn("patterns", *arguments)
        assert not code, err
        return out

    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(TEXTS[:4]), encoding="utf-8")
    options = ("-m", "demo-decoder", "--pattern", "induction", "--pattern", "first_token")
    shown = printed(file, *options, "--figure", tmp_path / "heads.png")
    assert "L4H2  induction" in shown
    assert "heads labeled" in shown
    assert (tmp_path / "heads.png").stat().st_size > 1000
    assert "L4H2" in printed(TEXTS[0], "-m", "demo-decoder")
    printed(file, *options, "-o", tmp_path / "heads.csv")
    table = pd.read_csv(tmp_path / "heads.csv")
    assert len(table) == 5 * 6 * 2
    assert np.isfinite(table["strength"]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_texts_too_short_for_a_pattern_leave_its_second_threshold_out() -> None:
    texts = ["The cat sat.", "A dog ran home.", "Birds sing."]
    labels = AttentionAnalyzer("demo-decoder", cache=False).label_heads(texts, untrained=True, batch_size=2)
    assert len(labels.table) > 0


def test_an_untrained_model_has_the_precision_of_the_trained_one() -> None:
    loaded = AttentionAnalyzer("demo-decoder", dtype="float64", cache=False).loaded
    untrained = untrained_model(loaded)
    assert untrained.dtype == torch.float64
    assert untrained.name == "demo-decoder (untrained)"
