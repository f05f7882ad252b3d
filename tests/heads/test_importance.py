"""How much heads matter: gradients against finite differences, ablation against surgery, and planted heads."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.heads import head_importance, pruning_curve
from attention_analyzer.heads.eval_batches import trials_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load
from tests.hooks.small import FORMS
from tests.interventions.reference import state

TEXTS = [
    "The old man looked at the river and the boy went home.",
    "She was not afraid of the dark.",
    "It was a cold day, and the wind blew from the sea to the hill.",
]
DATES = [
    "She was born on the twenty-third of March, nineteen eighty-four.",
    "He left on May the third, nineteen hundred and five.",
]
#: Words in an order that says nothing, twice: only what repeats can be foretold.
REPEATED = [
    "door river lamp garden stone window horse table silver morning door river lamp garden stone window horse table",
    "winter king bread music corner glass water field candle letter winter king bread music corner glass water field",
]


@pytest.fixture(scope="module")
def decoder() -> LoadedModel:
    return load("demo-decoder")


@pytest.fixture(scope="module")
def encoder() -> LoadedModel:
    return load("demo-encoder")


def with_double_precision(loaded: LoadedModel) -> LoadedModel:
    return LoadedModel(copy.deepcopy(loaded.model).double(), loaded.tokenizer, loaded.name)


def projection(loaded: LoadedModel, layer: int) -> Tensor:
    """The weight by which a layer's heads enter the residual stream, ``[hidden, head · channel]``."""
    model: Any = loaded.model
    if hasattr(model, "bert"):
        return model.bert.encoder.layer[layer].attention.output.dense.weight
    if hasattr(model, "encoder"):
        return model.decoder.block[layer].layer[1].EncDecAttention.o.weight
    return model.model.layers[layer].self_attn.o_proj.weight


def scale(loaded: LoadedModel, layer: int, head: int, heads: int, factor: float) -> None:
    weight = projection(loaded, layer)
    size = weight.shape[1] // heads
    weight.data[:, head * size : (head + 1) * size] *= factor


def losses(loaded: LoadedModel, texts: Any) -> Tensor:
    trials = trials_of(loaded, texts)
    with torch.no_grad(), loaded.evaluating() as model:
        return torch.cat([trial.measure(model(**trial.inputs)) for trial in trials])


#: With norms and softmax in float32, as two of the families have them whatever the dtype, small steps drown in noise.
@pytest.mark.parametrize(
    ("name", "heads", "layer", "head", "row", "step", "slack"),
    [("demo-decoder", 6, 1, 4, "L1H4", 1e-2, 1e-2), ("demo-encoder", 6, 2, 5, "L2H5", 1e-4, 1e-5),
     ("demo-translator", 4, 1, 2, "decoder.cross.L1H2", 1e-2, 1e-2)],
)  # fmt: skip
def test_the_gradient_is_that_of_a_factor_on_the_head(
    name: str, heads: int, layer: int, head: int, row: str, step: float, slack: float
) -> None:
    loaded = with_double_precision(load(name))
    texts: Any = TEXTS if name != "demo-translator" else [(date, "1999-12-31") for date in DATES]
    before = state(loaded.model)
    found = head_importance(loaded, texts, batch_size=2)
    assert state(loaded.model) == before
    scale(loaded, layer, head, heads, 1 + step)
    above = losses(loaded, texts)
    scale(loaded, layer, head, heads, (1 - step) / (1 + step))
    below = losses(loaded, texts)
    expected = ((above - below) / (2 * step)).abs()
    at = list(found.table["heads"]).index(row)
    torch.testing.assert_close(found.by_text[:, at], expected, rtol=slack, atol=1e-9)
    assert found.table["importance"][at] == pytest.approx(float(expected.mean()), rel=slack)
    of_layer = found.table[(found.table["layer"] == layer) & (found.table["kind"] == found.table["kind"][at])]
    of_layer = of_layer[of_layer["stack"] == found.table["stack"][at]]
    assert (of_layer["normalized"] ** 2).sum() == pytest.approx(1)
    ratio = of_layer["normalized"] / of_layer["importance"]
    assert ratio.max() == pytest.approx(ratio.min())


def test_ablation_is_what_a_head_cut_out_costs(decoder: LoadedModel) -> None:
    before = state(decoder.model)
    found = head_importance(decoder, TEXTS, "ablation", heads=["L1H4", "L1H4-5"])
    assert state(decoder.model) == before
    cut = LoadedModel(copy.deepcopy(decoder.model), decoder.tokenizer)
    plain = losses(cut, TEXTS).double()
    assert found.plain == pytest.approx(float(plain.mean()), rel=1e-5)
    for row, head in enumerate((4, 5)):
        scale(cut, 1, head, 6, 0)
        expected = losses(cut, TEXTS).double() - plain
        torch.testing.assert_close(found.by_text[:, row], expected, rtol=1e-3, atol=1e-5)
    assert list(found.table["heads"]) == ["L1H4", "L1H4-5"]
    assert found.table["head"].isna().tolist() == [False, True]


def test_the_loss_of_a_decoder_is_the_library_s(decoder: LoadedModel) -> None:
    ids = decoder.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = float(decoder.model(input_ids=ids, labels=ids).loss)
    assert float(losses(decoder, TEXTS)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["demo-decoder", "demo-encoder"])
def test_batches_change_nothing(name: str) -> None:
    loaded = load(name)
    torch.testing.assert_close(
        head_importance(loaded, TEXTS, batch_size=3).by_text,
        head_importance(loaded, TEXTS, batch_size=1).by_text,
        rtol=1e-3,
        atol=1e-6,
    )


def test_hidden_tokens_are_the_seed_s(encoder: LoadedModel) -> None:
    first, same, other = (trials_of(encoder, TEXTS, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.targets, same.targets)
    assert not torch.equal(first.targets, other.targets)
    hidden = first.targets != -100
    assert (first.inputs["input_ids"][hidden] == encoder.tokenizer.mask_token_id).all()
    alone = trials_of(encoder, TEXTS, seed=0, batch_size=1)[2]
    assert torch.equal(alone.targets[0], first.targets[2, : alone.targets.shape[1]])
    special = set(encoder.tokenizer.all_special_ids)
    assert not special & set(first.targets[hidden].tolist())


@pytest.mark.parametrize("method", ["gradient", "ablation"])
def test_a_head_that_never_matters_has_no_importance(method: Any, decoder: LoadedModel) -> None:
    deaf = LoadedModel(copy.deepcopy(decoder.model), decoder.tokenizer)
    scale(deaf, 2, 3, 6, 0)
    table = head_importance(deaf, TEXTS[:2], method).table.set_index("heads")
    assert table.loc["L2H3", ["importance", "low", "high"]].abs().max() == 0
    assert (table.drop("L2H3")["importance"].abs() > 1e-6).all()


def test_ablating_the_induction_head_harms_repeated_text_most(decoder: LoadedModel) -> None:
    """L4H2 and L4H3 are the model's induction heads, by its card; natural text hardly needs them."""
    found = head_importance(decoder, REPEATED, "ablation")
    best = found.table.sort_values("importance", ascending=False)
    assert best["heads"].iloc[0] == "L4H2"
    assert best["importance"].iloc[0] > 1.5 * best["importance"].iloc[1]
    both = ["L4H2-3"]
    repeated = head_importance(decoder, REPEATED, "ablation", heads=both).table["importance"][0]
    natural = head_importance(decoder, TEXTS, "ablation", heads=both).table["importance"][0]
    assert repeated > 2
    assert abs(natural) < 0.2


def test_measures(decoder: LoadedModel) -> None:
    logits = head_importance(decoder, TEXTS, "ablation", heads=["L1H4"], measure="logits")
    assert logits.plain == 0
    assert logits.by_text.min() > 0

    def surprise(outputs: Any, inputs: Any) -> Tensor:
        return outputs.logits[:, 0].logsumexp(-1)

    mine = head_importance(decoder, TEXTS, "ablation", heads=["L1H4"], measure=surprise)
    assert mine.measure == "surprise"
    with pytest.raises(InputError, match="gave 1 numbers for 3 texts"):
        head_importance(decoder, TEXTS, "ablation", heads=["L1H4"], measure=lambda outputs, _: outputs.logits.sum())
    mean = head_importance(decoder, TEXTS, "ablation", heads=["L1"], measure="logits", ablation="mean")
    zero = head_importance(decoder, TEXTS, "ablation", heads=["L1"], measure="logits")
    assert mean.table["importance"][0] < zero.table["importance"][0]


def test_classes() -> None:
    config = AutoConfig.for_model("bert", **FORMS["encoder"][1] | {"vocab_size": 9000}, num_labels=3)
    loaded = from_config(config, load("demo-encoder").tokenizer, model_class=AutoModelForSequenceClassification)
    found = head_importance(loaded, TEXTS, labels=[0, 2, "LABEL_1"])
    assert found.measure == "loss of the class (nats)"
    with torch.no_grad():
        parts = [loaded.model(**loaded.tokenizer(text, return_tensors="pt")).logits for text in TEXTS]
    expected = torch.nn.functional.cross_entropy(torch.cat(parts), torch.tensor([0, 2, 1]))
    assert found.plain == pytest.approx(float(expected), rel=1e-5)
    own = head_importance(loaded, TEXTS)
    assert own.plain == pytest.approx(float((-torch.cat(parts).log_softmax(-1).amax(-1)).mean()), rel=1e-5)
    with pytest.raises(InputError, match="no class 3"):
        head_importance(loaded, TEXTS, labels=[0, 2, 3])
    with pytest.raises(InputError, match="3 texts were given, but 1 labels"):
        head_importance(loaded, TEXTS, labels=[0])


def test_a_model_without_a_head() -> None:
    loaded = load("all-MiniLM-L6-v2")
    with pytest.raises(UnsupportedModelError, match="method='ablation'"):
        head_importance(loaded, TEXTS)
    found = head_importance(loaded, TEXTS, "ablation", heads=["L5H1", "*"])
    assert found.measure == "relative change of the mean hidden state"
    assert found.plain == 0
    assert found.table["importance"][1] > found.table["importance"][0] > 0.1


def test_wrong_arguments(decoder: LoadedModel, encoder: LoadedModel) -> None:
    for texts, options, message in (
        ([], {}, "at least one text"),
        ("a text", {}, "list of at least one text"),
        (TEXTS, {"method": "shapley"}, "'gradient' or 'ablation'"),
        (TEXTS, {"heads": ["L1"]}, "apply only to the method ablation"),
        (TEXTS, {"method": "ablation", "measure": "accuracy"}, "no measure 'accuracy'"),
        (TEXTS, {"labels": [1, 2, 3]}, "predicts the next token"),
    ):
        with pytest.raises(InputError, match=message):
            head_importance(decoder, texts, **options)  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="no head 9"):
        head_importance(decoder, TEXTS, "ablation", heads=["L1H9"])


def test_progress_is_told(decoder: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []
    head_importance(decoder, TEXTS, "ablation", heads=["L0", "L1"], progress=lambda *done: seen.append(done))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_pruning(decoder: LoadedModel) -> None:
    idle = LoadedModel(copy.deepcopy(decoder.model), decoder.tokenizer)
    for layer in range(5):
        for head in (0, 3, 4):
            scale(idle, layer, head, 6, 0)
    texts = [*TEXTS, *TEXTS]
    curve = pruning_curve(idle, texts, shares=(0, 0.5, 1))
    assert curve.held_out
    assert curve.texts == 3
    table = curve.table.set_index(["order", "share"])["value"]
    plain = float(losses(idle, texts[1::2]).mean())
    assert table["by importance", 0.0] == pytest.approx(plain, rel=1e-5)
    # Half of the heads do nothing; they go first.
    assert table["by importance", 0.5] == pytest.approx(plain, rel=1e-5)
    assert table["at random", 0.5] > plain + 0.05
    assert table["by importance", 1.0] == pytest.approx(table["at random", 1.0])
    assert list(curve.table["heads"]) == [0, 15, 30] * 2
    with pytest.raises(InputError, match="at least 4 texts"):
        pruning_curve(idle, TEXTS)
    with pytest.raises(InputError, match="between 0 and 1"):
        pruning_curve(idle, texts, shares=(0, 2))
