"""The prediction before and after, for every kind of model; records know their model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.interventions import WhatIf
from tests.hooks.small import FORMS, inputs_of, make
from tests.interventions.reference import state

TEXT = "The old man looked at the river, and the old"
DATE = "She was born on the twenty-third of March, nineteen eighty-four."


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def encoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-encoder", cache=False)


def without_head(model: nn.Module, text: str, tokenizer: Any) -> torch.Tensor:
    """Log-probabilities of a demo-decoder whose head L1H5 was cut out of its output projection."""
    inputs = tokenizer(text, return_tensors="pt")
    weight = model.model.layers[1].self_attn.o_proj.weight  # type: ignore[union-attr,index]
    kept = weight.data.clone()
    size = weight.shape[1] // 6
    try:
        weight.data[:, 5 * size :] = 0
        with torch.no_grad():
            return model(input_ids=inputs["input_ids"]).logits[0].double().log_softmax(-1)
    finally:
        weight.data.copy_(kept)


def test_next_token(decoder: AttentionAnalyzer) -> None:
    before = state(decoder.model)
    found = decoder.what_if(TEXT, ablate="L1H5")
    assert state(decoder.model) == before
    ids = decoder.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        plain = decoder.model(input_ids=ids).logits[0].double().log_softmax(-1)
    cut = without_head(decoder.model, TEXT, decoder.tokenizer)
    assert found.task == "next token"
    assert found.position == len(ids[0]) - 1
    assert found.token == "old"
    best = int(plain[-1].argmax())
    assert found.target == decoder.tokenizer.decode([best]).strip()
    assert found.before == pytest.approx(float(plain[-1, best].exp()), rel=1e-5)
    assert found.after == pytest.approx(float(cut[-1, best].exp()), rel=1e-4)
    expected = nn.functional.kl_div(cut, plain, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(torch.tensor(found.positions["kl"].to_numpy()), expected, rtol=1e-3, atol=1e-6)
    assert found.kl == found.effect == pytest.approx(float(expected[-1]), rel=1e-3)
    own = [float(each[:-1].gather(1, ids[0, 1:, None]).sum()) for each in (plain, cut)]
    assert found.log_probability == pytest.approx(own, rel=1e-4)
    assert (found.table["change"] - (found.table["after"] - found.table["before"])).abs().max() == 0
    assert found.table["change"].abs().is_monotonic_decreasing


def test_a_followed_token_and_position(decoder: AttentionAnalyzer) -> None:
    found = decoder.what_if(TEXT, ablate="L1H5", target="woman", position=2)
    assert (found.target, found.position, found.token) == ("woman", 2, "old")
    assert "woman" in set(found.table["label"])
    number = decoder.tokenizer(" woman", add_special_tokens=False)["input_ids"][0]
    assert decoder.what_if(TEXT, ablate="L1H5", target=number, position=2).before == found.before
    with pytest.raises(InputError, match="is not one token"):
        decoder.what_if(TEXT, target="antidisestablishmentarianism")
    with pytest.raises(SelectionError, match="no position 99"):
        decoder.what_if(TEXT, position=99)
    with pytest.raises(SelectionError, match="no label 99999"):
        decoder.what_if(TEXT, target=99999)


def test_no_change_has_no_effect(decoder: AttentionAnalyzer, encoder: AttentionAnalyzer) -> None:
    for analyzer, text in ((decoder, TEXT), (encoder, "The cat sat on the [MASK].")):
        found = analyzer.what_if(text)
        assert found.effect == 0
        assert (found.positions["kl"] == 0).all()
        assert found.changed == "nothing changed"


def test_masked_token(encoder: AttentionAnalyzer) -> None:
    found = encoder.what_if("The cat sat on the [MASK].", ablate=["L0", "L1"])
    assert (found.task, found.token, found.position) == ("masked token", "[MASK]", 6)
    assert found.log_probability is None
    assert found.kl > 0.1
    assert found.table["label"].is_unique
    without = encoder.what_if("The cat sat on the mat.", ablate=["L0", "L1"])
    assert without.position == int(without.positions["kl"].argmax())


def test_written_token_and_cross_attention() -> None:
    analyzer = AttentionAnalyzer("demo-translator", cache=False)
    record = analyzer.record(DATE)
    cut = analyzer.what_if(DATE, knock_out="decoder.cross.*:*>*")
    assert cut.task == "written token"
    assert cut.log_probability is not None
    assert cut.log_probability[0] > -0.1
    assert cut.log_probability[1] < -5  # a translator that cannot read its source
    assert list(cut.positions["token"]) == list(record.target_tokens.pieces)
    given = analyzer.what_if((DATE, "1984-03-23"), knock_out="decoder.cross.*:*>*")
    assert given.log_probability == pytest.approx(cut.log_probability)
    assert record.what_if(knock_out="decoder.cross.*:*>*").kl == pytest.approx(cut.kl)


def test_representation() -> None:
    analyzer = AttentionAnalyzer("all-MiniLM-L6-v2", cache=False)
    text = "The cat sat on the mat."
    found = analyzer.what_if(text, patch={"L2H3": "uniform", "L0": "first"})
    assert found.task == "representation"
    assert math.isnan(found.kl)
    assert 0.05 < found.effect < 2
    inputs = analyzer.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        hidden = analyzer.model(**inputs).last_hidden_state[0]
    assert len(found.positions) == len(hidden)
    other = "A dog ran to the park."
    as_other = analyzer.what_if(text, patch={"*": other})
    assert as_other.effect > 0
    assert analyzer.what_if(text, patch={"*": text}).effect < 1e-5
    with pytest.raises(InputError, match="same length in tokens"):
        analyzer.what_if(text, patch={"*": other + " It was a fine day."})
    with pytest.raises(InputError, match="predicts no labels"):
        analyzer.what_if(text, target="cat")
    assert "mean hidden state changes by" in str(found)


def test_mean_of_the_text_and_of_references(decoder: AttentionAnalyzer) -> None:
    own = decoder.what_if(TEXT, ablate="L1", ablation="mean")
    of_itself = decoder.what_if(TEXT, ablate="L1", ablation="mean", reference=[TEXT])
    assert own.kl == pytest.approx(of_itself.kl)
    other = decoder.what_if(
        TEXT, ablate="L1", ablation="mean", reference=["She went home.", "It was late and cold in the hall."]
    )
    assert other.kl != pytest.approx(own.kl)
    assert own.kl < decoder.what_if(TEXT, ablate="L1").kl
    with pytest.raises(InputError, match="ablation='mean'"):
        decoder.what_if(TEXT, ablate="L1", reference=[TEXT])
    with pytest.raises(InputError, match="'zero' or 'mean'"):
        decoder.what_if(TEXT, ablate="L1", ablation="noise")


@pytest.mark.parametrize("labels", [1, 5])
def test_classes_and_values(labels: int, encoder: AttentionAnalyzer) -> None:
    config = AutoConfig.for_model("bert", **FORMS["encoder"][1] | {"vocab_size": 9000}, num_labels=labels)
    if labels > 1:
        config.id2label = {number: f"class {number}" for number in range(labels)}
    analyzer = AttentionAnalyzer.from_config(
        config, encoder.tokenizer, model_class=AutoModelForSequenceClassification, seed=4
    )
    found = analyzer.what_if("The cat sat.", ablate="*")
    if labels == 1:
        assert found.task == "value"
        assert found.effect == pytest.approx(found.after - found.before)
        assert math.isnan(found.kl)
        found.plot()
        return
    assert (found.task, found.position, len(found.table)) == ("class", None, labels)
    assert found.table["before"].sum() == pytest.approx(1)
    assert analyzer.what_if("The cat sat.", ablate="*", target="class 3").target == "class 3"
    with pytest.raises(SelectionError, match="no class 'class 9'; the classes are class 0"):
        analyzer.what_if("The cat sat.", target="class 9")
    with pytest.raises(InputError, match="whole text"):
        analyzer.what_if("The cat sat.", position=2)
    analyzer.model.config.problem_type = "multi_label_classification"
    several = analyzer.what_if("The cat sat.", ablate="*")
    p, q = (torch.tensor(several.table[name].to_numpy()) for name in ("before", "after"))
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    assert several.kl == pytest.approx(float(expected), rel=1e-6)


def test_classes_of_tokens(encoder: AttentionAnalyzer) -> None:
    config = AutoConfig.for_model("bert", **FORMS["encoder"][1] | {"vocab_size": 9000}, num_labels=3)
    analyzer = AttentionAnalyzer.from_config(config, encoder.tokenizer, model_class=AutoModelForTokenClassification)
    found = analyzer.what_if("The cat sat.", ablate="*", position=2)
    assert (found.task, found.token, len(found.table)) == ("token class", "cat", 3)


def test_records_know_their_model(decoder: AttentionAnalyzer, encoder: AttentionAnalyzer, tmp_path: Path) -> None:
    asked = {"knock_out": "L4H2:*>0"}
    record = decoder.record(TEXT)
    assert record.what_if(**asked).kl == decoder.what_if(TEXT, **asked).kl
    loaded = AttentionRecord.load(record.save(tmp_path / "r.attn"))
    assert loaded.origin is None
    with pytest.raises(InputError, match="pass analyzer="):
        loaded.what_if(**asked)
    with pytest.raises(InputError, match="other weights"):
        loaded.what_if(analyzer=encoder, **asked)
    assert loaded.what_if(analyzer=decoder, **asked).kl == record.what_if(**asked).kl
    cached = AttentionAnalyzer.of(decoder.loaded, cache=tmp_path / "cache")
    cached.record(TEXT)
    assert cached.record(TEXT).what_if(**asked).kl == record.what_if(**asked).kl
    written = decoder.generate("The old man", max_new_tokens=3)
    assert len(written.what_if(**asked).positions) == len(written.tokens)
    weights = AttentionRecord.from_weights([torch.ones(1, 2, 2) / 2], ["a", "b"])
    with pytest.raises(InputError, match="built from weights"):
        weights.what_if(**asked)


def test_a_pair_keeps_its_segments(encoder: AttentionAnalyzer) -> None:
    pair = ("Where is the cat?", "It sat on the [MASK].")
    assert encoder.record(pair).what_if(ablate="L2").kl == encoder.what_if(pair, ablate="L2").kl


def test_images() -> None:
    model = make("vision")
    analyzer = AttentionAnalyzer(model)
    inputs = {"pixel_values": inputs_of("vision")["pixel_values"][:1]}
    record = analyzer.record(inputs=inputs)
    found = record.what_if(ablate="vision.L1H2" if "vision" in record.stacks else "L1H2")
    assert found.task == "representation"
    assert found.effect > 0
    assert len(found.positions) == 10


def test_the_command(attn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = attn("what-if", TEXT, "-m", "demo-decoder", "-k", "L4H2:last>0", "-s", "L1H5", "-r", "L0=uniform",
                        "--target", "woman", "-o", "p.csv", "--figure", "f.png")  # fmt: skip
    assert code == 0
    assert "L4H2:last>0 knocked out; L1H5 ablated; L0 attends uniformly" in out
    assert "'woman' goes from" in out
    assert (tmp_path / "p.csv").read_text(encoding="utf-8").startswith("position,token,kl")
    assert (tmp_path / "f.png").stat().st_size > 5000
    new, old = (
        attn("what-if", TEXT, "-m", "demo-decoder", ablate, "L1H5", patch, "L0=first")
        for ablate, patch in (("--ablate", "--patch"), ("--silence", "--replace"))
    )
    assert new == old, "the old names of options work"
    code, out, _ = attn("what-if", TEXT, "-m", "demo-decoder")
    assert code == 0
    assert "prediction" in out
    code, _, err = attn("what-if", TEXT, "-m", "demo-decoder", "-s", "L9H0")
    assert code == 2
    assert "There is no layer 9" in err
    code, _, err = attn("what-if", TEXT, "-m", "demo-decoder", "-r", "L0H1")
    assert code == 2
    assert "HEADS=uniform" in err


def test_the_words_of_a_change(decoder: AttentionAnalyzer) -> None:
    found: WhatIf = decoder.what_if(TEXT, ablate=(1, 5), patch={(0, 1): "first"})
    assert found.changed == "L1H5 ablated; L0H1 looks at the first token only"
    assert str(found).startswith(f"{found.changed}: for the token after 'old' (")
    with pytest.raises(InputError, match="not by int"):
        decoder.what_if(TEXT, patch={"L0H1": 7})  # type: ignore[dict-item]
