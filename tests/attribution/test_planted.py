"""A model that depends on one token and nothing else: which methods find it, and which do not."""

from __future__ import annotations

import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from tests.attribution.cases import DECOY, SIGNAL, planted

TEXT = "the dog saw how one cat ran home"
AT = TEXT.split().index(SIGNAL) + 1
FINDS = ("norm", "gradient_attention", "integrated_gradients")
MISSES = ("received", "last_layer", "rollout", "flow")


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    return planted()


def test_the_plant_is_what_it_says(analyzer: AttentionAnalyzer) -> None:
    """Every query looks mostly at the decoy; the answer changes with the signal, and with no other token."""
    record = analyzer.record(TEXT)
    for entry in record.entries:
        assert float(entry.weights[:, :, DECOY].min()) > 0.6
        assert float(entry.weights[:, :, AT].max()) < 0.1

    def probability(text: str) -> float:
        inputs = analyzer.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return float(analyzer.model(**inputs).logits.softmax(-1)[0, 1])

    whole = probability(TEXT)
    words = TEXT.split()
    for at in range(len(words)):
        other = probability(" ".join([*words[:at], "[MASK]", *words[at + 1 :]]))
        if at == AT - 1:
            assert other < 0.5 < whole
        else:
            assert other == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("method", FINDS)
def test_methods_that_look_at_what_is_written_find_it(analyzer: AttentionAnalyzer, method: str) -> None:
    found = analyzer.token_importance(TEXT, method, target="class")
    assert found.target == "the class 'cat'"
    assert found.tokens[AT] == SIGNAL
    assert found.scores[AT] > 0.999


@pytest.mark.parametrize("method", MISSES)
def test_methods_that_look_at_weights_alone_do_not(analyzer: AttentionAnalyzer, method: str) -> None:
    found = analyzer.token_importance(TEXT, method, special="exclude")
    assert found.tokens[max(range(len(found)), key=found.scores.__getitem__)] == TEXT.split()[DECOY - 1]
    assert found.scores[AT - 1] < 0.2


def test_deleting_tokens_tells_which_to_trust(analyzer: AttentionAnalyzer) -> None:
    """On a text long enough that a random order seldom begins with the one token that matters."""
    compared = analyzer.compare_attributions(f"{TEXT} {' '.join(['and so did one more'] * 9)}", deletion="mask")
    table = compared.table.set_index("method")
    whole, without = compared.whole, compared.judged[compared.importances.index(_by(compared, "norm"))].curve[1]
    for method in FINDS:
        assert table.loc[method, "comprehensiveness"] == pytest.approx(whole - without, abs=1e-6)
        assert table.loc[method, "sufficiency"] == pytest.approx(0, abs=1e-6)
        assert table.loc[method, "beats_random"] >= 2
        assert table.loc[method, "ahead_of_random"] > 0.97
    for method in MISSES:
        assert table.loc[method, "comprehensiveness"] < 0.75 * (whole - without)
        assert table.loc[method, "beats_random"] == 0
    assert any({a, b} == {"received", "gradient_attention"} for a, b, _ in compared.disagreements)
    assert "Methods disagree" in compared.summary


def _by(compared, method: str):
    return next(found for found in compared.importances if found.method == method)
