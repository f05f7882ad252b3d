"""Comprehensiveness, sufficiency and deletion curves against texts rewritten by hand; methods side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution.comparison import DISAGREE_BELOW, USUAL
from attention_analyzer.attribution.context import ask
from attention_analyzer.attribution.deletion import Deleter
from attention_analyzer.attribution.faithfulness import Trial, random_orders
from attention_analyzer.errors import InputError, TooLongError

TEXT = "The dog [MASK] at the cat and ran away."
PROMPT = "Mr and Mrs Smith went to town. Mr and Mrs"
QUICK = ("received", "rollout", "gradient_attention")


@pytest.fixture(scope="module")
def encoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-encoder", cache=False)


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def test_scores_are_those_of_texts_rewritten_by_hand(encoder: AttentionAnalyzer) -> None:
    asked = ask(encoder.loaded, TEXT)
    words = TEXT.split(" ")
    words[-1:] = ["away", "."]
    free = [at for at in range(len(words)) if words[at] != "[MASK]"]

    def probability(masked: set[int]) -> float:
        text = " ".join("[MASK]" if at in masked else word for at, word in enumerate(words))
        with torch.no_grad():
            logits = encoder.model(**encoder.tokenizer(text, return_tensors="pt")).logits
        return float(logits[0, asked.target.at].softmax(-1)[asked.target.entry])

    order = [4, 0, 7, 2, 8, 1, 3, 5, 6]
    ranked = [free[at] for at in order]
    whole = probability(set())
    counts = [1, 2, 5]  # 1 %, 5 %, 10 % (one token), 20 % and 50 % of nine
    trial = Trial(Deleter(asked, "mask"), tuple((at + 1,) for at in free), len(asked.tokens))
    (found,) = trial.judge([order])
    assert trial.counts == counts
    drops = [whole - probability(set(ranked[:count])) for count in counts]
    assert found.comprehensiveness == pytest.approx(np.mean(drops), abs=1e-5)
    alone = [whole - probability(set(ranked[count:])) for count in counts]
    assert found.sufficiency == pytest.approx(np.mean(alone), abs=1e-5)
    curve = [probability(set(ranked[:count])) for count in range(10)]
    assert found.curve == pytest.approx(curve, abs=1e-5)
    assert found.area == pytest.approx(np.trapezoid(curve, dx=1 / 9), abs=1e-5)


def test_hiding_leaves_every_other_token_where_it_is(decoder: AttentionAnalyzer) -> None:
    asked = ask(decoder.loaded, PROMPT, "next=Smith")
    kept = torch.ones(1, len(asked.tokens), dtype=torch.bool)
    kept[0, 4] = False
    inputs, layout = Deleter(asked, "hide").variants(kept)
    assert inputs["input_ids"][0, 4] == decoder.tokenizer.pad_token_id
    assert inputs["attention_mask"][0].tolist() == kept[0].int().tolist()
    assert layout.place(5).tolist() == [5]
    with torch.no_grad():
        changed = {**inputs, "input_ids": inputs["input_ids"].where(kept, 77)}
        before, after = (decoder.model(**given).logits[0] for given in (inputs, changed))
    others = [at for at in range(len(asked.tokens)) if at != 4]
    torch.testing.assert_close(before[others], after[others])  # nobody looks at what is hidden


def test_removing_is_the_text_without_the_token(decoder: AttentionAnalyzer) -> None:
    asked = ask(decoder.loaded, PROMPT, "next=Smith")
    kept = torch.ones(3, len(asked.tokens), dtype=torch.bool)
    kept[1, [1, 4]] = False
    kept[2, -1] = False
    found = Deleter(asked, "remove").measures(kept)
    for row, flags in enumerate(kept):
        ids = asked.inputs["input_ids"][:, flags]
        with torch.no_grad():
            expected = decoder.model(input_ids=ids).logits[0, -1].softmax(-1)[asked.target.entry]
        assert float(found[row]) == pytest.approx(float(expected), rel=1e-4, abs=1e-7)


def test_a_pooled_text_counts_only_what_is_left(encoder: AttentionAnalyzer) -> None:
    asked = ask(encoder.loaded, "The dog ran.", "pooled")
    kept = torch.tensor([[True, True, False, True, True, True]])
    shorter = ask(encoder.loaded, "The ran.", "pooled")
    with torch.no_grad():
        vector = shorter.loaded.model(**shorter.inputs).last_hidden_state[0].mean(0)
    expected = float(torch.nn.functional.cosine_similarity(vector, asked.target.direction, dim=0))
    assert float(Deleter(asked, "remove").measures(kept)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "target", "kind", "message"),
    [
        ("decoder", None, "mask", "knows no mask token"),
        ("decoder", "sequence", "remove", "cannot be removed"),
        ("decoder", None, "burn", "deleted by one of mask, hide, remove"),
    ],
)
def test_deletions_that_cannot_be_are_refused(request, model: str, target: str | None, kind: str, message: str) -> None:
    analyzer = request.getfixturevalue(model)
    with pytest.raises(InputError, match=message):
        analyzer.compare_attributions(PROMPT, target=target, deletion=kind, methods=QUICK)


def test_random_orders_are_told_apart_and_repeat() -> None:
    orders = random_orders(11, 5, seed=3)
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert orders == random_orders(11, 5, seed=3)


def test_methods_side_by_side(encoder: AttentionAnalyzer) -> None:
    compared = encoder.compare_attributions(TEXT, methods=QUICK, seeds=20, special="keep")
    table = compared.table
    assert set(table["method"]) == {*QUICK, "random"}
    assert table["method"].iloc[-1] == "random"
    assert table["comprehensiveness"].iloc[:-1].is_monotonic_decreasing
    each = [judged.comprehensiveness for judged in compared.random]
    assert table["comprehensiveness"].iloc[-1] == pytest.approx(np.mean(each))
    low, high = compared.interval("comprehensiveness")
    assert (low, high) == pytest.approx(tuple(np.quantile(each, [0.025, 0.975])))
    assert table["ahead_of_random"].iloc[:-1].between(0, 1).all()
    assert list(compared.tokens.columns) == ["position", "token", *QUICK]
    for name in QUICK:
        assert compared.tokens[name].tolist() == pytest.approx(list(encoder.token_importance(TEXT, name).scores))


def test_disagreement_is_a_rank_correlation_below_the_threshold(encoder: AttentionAnalyzer) -> None:
    compared = encoder.compare_attributions(TEXT, methods=QUICK, seeds=2)
    by_name = {found.method: found for found in compared.importances}
    expected = {}
    for a, b in (("received", "rollout"), ("received", "gradient_attention"), ("rollout", "gradient_attention")):
        expected[a, b] = float(spearmanr(by_name[a].raw, by_name[b].raw).statistic)
        assert compared.agreement.loc[a, b] == pytest.approx(expected[a, b])
    assert {(a, b) for a, b, _ in compared.disagreements} == {
        pair for pair, rho in expected.items() if rho < DISAGREE_BELOW
    }
    assert compared.disagreements
    assert all(f"{rho:.2f}" in compared.summary for _, _, rho in compared.disagreements)


def test_words_are_deleted_whole(encoder: AttentionAnalyzer) -> None:
    compared = encoder.compare_attributions(
        "Unbelievably quick foxes jumped.", methods=("received",), unit="word", seeds=2
    )
    assert compared.steps == (0, 1, 2, 3, 4, 5)
    assert compared.importances[0].tokens == ("Unbelievably", "quick", "foxes", "jumped", ".")


def test_an_encoder_decoder_is_judged_on_its_source() -> None:
    translator = AttentionAnalyzer("demo-translator", cache=False)
    compared = translator.compare_attributions(
        "She was born on the third of May, nineteen oh five.", methods=QUICK, seeds=2
    )
    assert compared.deletion == "hide"
    assert compared.target == "'1905-05-03', token by token"
    assert compared.whole > 0.9
    assert all(judged.curve[-1] < 0.5 for judged in compared.judged)


def test_what_is_refused_is_said_unless_it_was_named(encoder: AttentionAnalyzer, monkeypatch) -> None:
    from attention_analyzer.attribution import flow

    monkeypatch.setattr(flow, "MOST_EDGES", 100)
    compared = encoder.compare_attributions(TEXT, methods=None, seeds=2)
    assert {found.method for found in compared.importances} == set(USUAL) - {"flow"}
    assert "more than the limit" in compared.refused["flow"]
    with pytest.raises(TooLongError):
        encoder.compare_attributions(TEXT, methods=("flow",), seeds=2)


def test_texts_and_options_that_say_nothing_are_refused(encoder: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match="at least 2 are needed"):
        encoder.compare_attributions("dog", methods=QUICK)
    with pytest.raises(InputError, match="at least 2 random orders"):
        encoder.compare_attributions(TEXT, methods=QUICK, seeds=1)


@pytest.mark.parametrize("unit", ["token", "word"])
def test_pictures_show_every_token(encoder: AttentionAnalyzer, unit: str) -> None:
    text = "The dog [MASK] $1 at 東京 and ran away."
    found = encoder.token_importance(text, "integrated_gradients", unit=unit, special="apart")
    axes = found.plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *found.tokens,
        *(t for t, _ in found.special_tokens),
    ]
    assert len(axes.patches) == len(found) + len(found.special_tokens)
    widths = [patch.get_width() for patch in axes.patches][: len(found)]
    assert [width < 0 for width in widths] == [raw < 0 for raw in found.raw]
    compared = encoder.compare_attributions(text, methods=QUICK, unit=unit, seeds=2)
    grid, curves = compared.plot().axes
    assert len(grid.get_yticklabels()) == len(compared.importances[0])
    assert len(curves.lines) == len(QUICK) + 1


def test_a_long_text_is_drawn_as_a_line(encoder: AttentionAnalyzer) -> None:
    found = encoder.token_importance("The dog ran. " * 30)
    (lines,) = found.plot().axes[0].collections
    assert len(lines.get_segments()) == len(found)


def test_a_long_text_is_judged_at_each_share_and_at_even_steps(encoder: AttentionAnalyzer) -> None:
    trial = Trial(Deleter(ask(encoder.loaded, TEXT), "mask"), tuple((at,) for at in range(100)), 100)
    assert trial.counts == [1, 5, 10, 20, 50]
    assert trial.steps == list(range(0, 101, 5))


def test_texts_of_different_lengths_that_run_together_do_not_see_the_padding(encoder: AttentionAnalyzer) -> None:
    asked = ask(encoder.loaded, "The dog ran to the cat.", "pooled")
    kept = torch.ones(2, len(asked.tokens), dtype=torch.bool)
    kept[1, [1, 3, 5]] = False
    deleter = Deleter(asked, "remove")
    together = deleter.measures(kept)
    alone = torch.cat([deleter.measures(kept[:1]), deleter.measures(kept[1:])])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    inputs, _ = deleter.variants(kept)
    assert inputs["attention_mask"].sum(1).tolist() == kept.sum(1).tolist()


def test_a_model_without_an_attention_mask_cannot_hide_tokens(encoder: AttentionAnalyzer) -> None:
    asked = ask(encoder.loaded, TEXT)
    inputs = {name: value for name, value in asked.inputs.items() if name != "attention_mask"}
    bare = replace(asked, prepared=replace(asked.prepared, inputs=inputs))
    with pytest.raises(InputError, match="takes no attention mask"):
        Deleter(bare, "hide")
