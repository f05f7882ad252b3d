"""Comparisons with known answers: the same model, one with its heads permuted, one head disturbed, random ones."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from attention_analyzer.comparison import compare
from attention_analyzer.comparison.matching import match_heads
from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load

TEXTS = [
    "The cat sat on the mat, and the dog sat on the cat.",
    "Anna gave Tom the red book.",
    "A bird sings, and it stops.",
]
HEADS, WIDTH = 6, 32


@pytest.fixture(scope="module")
def encoder() -> LoadedModel:
    return load("demo-encoder")


def changed(loaded: LoadedModel) -> LoadedModel:
    return LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, "changed")


def attention(loaded: LoadedModel, layer: int) -> Any:
    return loaded.model.bert.encoder.layer[layer].attention


def permuted(loaded: LoadedModel, seed: int = 0) -> tuple[LoadedModel, list[list[int]]]:
    """The same function with the heads of every layer in another order; ``[layer][new place] = old place``."""
    copied, orders = changed(loaded), []
    draw = np.random.default_rng(seed)
    for layer in range(6):
        order = draw.permutation(HEADS).tolist()
        rows = torch.tensor([head * WIDTH + i for head in order for i in range(WIDTH)])
        part = attention(copied, layer)
        with torch.no_grad():
            for linear in (part.self.query, part.self.key, part.self.value):
                linear.weight.copy_(linear.weight[rows])
                linear.bias.copy_(linear.bias[rows])
            part.output.dense.weight.copy_(part.output.dense.weight[:, rows])
        orders.append(order)
    return copied, orders


def test_a_permuted_copy_is_matched_back_exactly(encoder: LoadedModel) -> None:
    copied, orders = permuted(encoder)
    found = compare(encoder, copied, texts=TEXTS[0])
    assert found.matching.method == "assignment"
    table = found.matching.table
    expected = [(layer, orders[layer].index(head)) for layer in range(6) for head in range(HEADS)]
    assert list(zip(table["other_layer"], table["other_head"], strict=True)) == expected
    assert table["matched"].all()
    assert table["divergence"].max() < 1e-4
    assert found.heads["divergence"].max() < 1e-4
    assert found.heads[[f"{name}_change" for name in ("entropy", "distance")]].abs().to_numpy().max() < 1e-3
    assert "36 of 36" in found.report()


def test_identical_models_differ_by_zero(encoder: LoadedModel) -> None:
    found = compare(encoder, changed(encoder), texts=TEXTS)
    assert found.fingerprints[0] == found.fingerprints[1]
    assert (found.heads["divergence"] == 0).all() and (found.heads["entropy_change"] == 0).all()
    assert (found.tokens["divergence"] == 0).all()
    assert "the same in every head" in found.report()


def test_one_disturbed_head_is_what_changed_most(encoder: LoadedModel) -> None:
    copied = changed(encoder)
    part = attention(copied, 4).self.query
    with torch.no_grad():
        part.weight[3 * WIDTH : 4 * WIDTH] *= -1
    found = compare(encoder, copied, texts=TEXTS)
    assert found.matching.method == "index"
    first = found.heads.iloc[0]
    assert (first["layer"], first["head"]) == (4, 3)
    assert first["low"] > found.heads.iloc[1]["divergence"]
    assert first["low"] <= first["divergence"] <= first["high"]
    # Nothing before it can have changed.
    assert (found.heads.loc[found.heads["layer"] < 4, "divergence"] == 0).all()
    assert (found.tokens["layer"] == 4).mean() > 0.7
    assert "L4H3" in found.report().splitlines()[3]


def test_a_random_pair_is_not_matched_beyond_the_null(encoder: LoadedModel) -> None:
    config, tokenizer = encoder.config, encoder.tokenizer
    for seed in (1, 2):
        pair = [from_config(config, tokenizer, model_class=type(encoder.model), seed=seed + 10 * n) for n in (0, 1)]
        matching = match_heads(*pair)
        assert matching.method == "assignment"
        # At the level of 5 % false matches one may pass now and then.
        assert matching.table["matched"].sum() <= 1


def test_rounded_weights_are_compared_by_place(encoder: LoadedModel) -> None:
    copied = changed(encoder)
    with torch.no_grad():
        for weight in (p for p in copied.model.parameters() if p.dim() == 2):
            scale = weight.abs().amax() / 7
            weight.copy_((weight / scale).round() * scale)  # four bits
    found = compare(encoder, copied, texts=TEXTS)
    assert found.matching.method == "index"
    assert 0 < found.divergence < 0.3
    assert found.matching.table["p"].median() < 0.05


def test_a_smaller_model_leaves_heads_over(encoder: LoadedModel) -> None:
    config = copy.deepcopy(encoder.config)
    config.num_hidden_layers = 2
    small = from_config(config, encoder.tokenizer, model_class=type(encoder.model))
    small.model.load_state_dict(encoder.model.state_dict(), strict=False)
    found = compare(encoder, small, texts=TEXTS[0])
    table = found.matching.table
    assert table["other_head"].notna().sum() == 12
    assert not table.loc[table["other_head"].isna(), "matched"].any()
    kept = table[table["layer"] < 2]
    assert (kept["other_layer"] == kept["layer"]).all() and (kept["other_head"] == kept["head"]).all()
    assert len(found.heads) == 12
    assert table["matched"].dtype == table["closest"].dtype == bool


def test_two_texts_in_one_model_meet_word_by_word(encoder: LoadedModel) -> None:
    found = compare(encoder, texts="The cat sat on the mat.", other_texts="The cat slept on the mat.")
    assert "sat" not in set(found.tokens["token"])
    assert {"The", "cat", "on", "mat", "."} <= set(found.tokens["token"])
    assert found.unaligned > 0
    assert found.divergence > 0


def test_what_cannot_be_compared_is_refused(encoder: LoadedModel) -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        compare(encoder, texts=TEXTS)
    with pytest.raises(InputError, match="3 texts were given, but 1 other"):
        compare(encoder, texts=TEXTS, other_texts="one")
    with pytest.raises(InputError, match="No texts"):
        compare(encoder, encoder, texts=[])
    with pytest.raises(InputError, match="not int"):
        compare(encoder, 3, texts=TEXTS)


def test_tables_are_means_over_texts_heads_and_tokens(encoder: LoadedModel) -> None:
    copied = changed(encoder)
    with torch.no_grad():
        attention(copied, 4).self.query.weight[3 * WIDTH : 4 * WIDTH] *= -1
    found = compare(encoder, copied, texts=TEXTS)
    single = [compare(encoder, copied, texts=text) for text in TEXTS]
    by_head = [one.heads.set_index(["layer", "head"]).sort_index() for one in single]
    heads = found.heads.set_index(["layer", "head"]).sort_index()
    for column in ("divergence", "entropy", "entropy_change", "distance", "distance_change"):
        expected = np.mean([table[column] for table in by_head], axis=0)
        np.testing.assert_allclose(heads[column], expected, rtol=1e-6, atol=1e-9)
    layers = found.layers.set_index("layer")
    for column in ("divergence", "entropy_change"):
        np.testing.assert_allclose(layers[column], heads.groupby("layer")[column].mean(), rtol=1e-6, atol=1e-9)
    for number, one in enumerate(single):
        tokens = found.tokens.loc[found.tokens["text"] == number, "divergence"]
        assert tokens.mean() == pytest.approx(one.divergence)
        assert tokens.max() <= np.log(2)


def test_tokens_without_a_counterpart_are_counted_over_all_texts(encoder: LoadedModel) -> None:
    texts, others = ["The cat sat on the mat.", "Anna gave Tom the book."], ["The cat slept there.", "Anna gave it."]
    single = [compare(encoder, texts=text, other_texts=other) for text, other in zip(texts, others, strict=True)]
    assert all(one.unaligned > 0 for one in single)
    assert compare(encoder, texts=texts, other_texts=others).unaligned == sum(one.unaligned for one in single)


def test_columns_and_counts_of_two_short_texts(encoder: LoadedModel) -> None:
    found = compare(encoder, texts="The cat sat.", other_texts="The dog sat.")
    assert list(found.tokens) == [
        "text", "stack", "kind", "position", "token", "other_token", "divergence", "layer", "head",
    ]  # fmt: skip
    assert {"entropy", "entropy_change", "entropy_low", "entropy_high"} <= set(found.heads)
    assert found.unaligned == 2  # "cat" and "dog"
    assert set(found.tokens["stack"]) == {"encoder"}


def test_words_of_several_tokens_are_shown_whole(encoder: LoadedModel) -> None:
    found = compare(encoder, texts="An unbelievable antidisestablishment.", other_texts="An unbelievable thing.")
    row = found.tokens[found.tokens["token"] == "unbelievable"].iloc[0]
    assert row["other_token"] == "unbelievable"


def test_other_weights_under_one_name_are_told_apart(encoder: LoadedModel) -> None:
    other = changed(encoder)
    with torch.no_grad():
        attention(other, 0).self.query.weight.mul_(1.5)
    first, second = compare(encoder, LoadedModel(other.model, other.tokenizer, encoder.name), texts=TEXTS[0]).names
    assert first != second
    assert first.startswith("demo-encoder (")
    assert second.startswith("demo-encoder (")
    again, same = compare(encoder, changed(encoder), texts=TEXTS[0]).names
    assert (again, same) == ("demo-encoder", "changed")
