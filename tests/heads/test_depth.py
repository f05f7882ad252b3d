"""Metrics by depth and shares of weight, against loops and planted heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, AttentionRecord, Tokens
from attention_analyzer.captured import SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.heads import depth_profile, weight_allocation
from attention_analyzer.heads.depth import DepthProfiles
from attention_analyzer.heads.weight_allocation import SHARES, Edges, OffsetRates, edges_of, shares_of
from attention_analyzer.linguistics import read_annotated
from attention_analyzer.metrics.entropy import MeanEntropy
from attention_analyzer.models.loading import load
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.text.annotation import AnnotatedText
from tests.linguistics.treebank import treebank

TEXTS = ["The old man looked at the river.", "She was not afraid of the dark, he said.", "It was cold."]
TOKENS = Tokens(
    pieces=("[CLS]", "a", "b", "c", "d", "e", "f", "[SEP]"),
    ids=tuple(range(8)),
    is_special=(True, *[False] * 6, True),
)
#: a governs c, c governs f, e is alone with d.
EDGES = Edges(torch.tensor([-1, 0, 1, 2, 3, 4, 5, -1]), torch.zeros(6, 6, dtype=torch.bool))
for _left, _right in ((0, 2), (2, 5), (3, 4)):
    EDGES.joined[_left, _right] = EDGES.joined[_right, _left] = True


def entry_of(weights: Tensor, stack: str = "encoder") -> SiteRecord:
    return AttentionRecord.from_weights([weights], TOKENS, stack=stack).entries[0]


def random_rows(heads: int = 3) -> Tensor:
    return torch.softmax(2 * torch.randn(heads, 8, 8, generator=torch.Generator().manual_seed(0)), -1)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@pytest.mark.parametrize("annotated", [False, True])
def test_shares_are_the_definition(stack: str, annotated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_allocation, "_CELLS", 3 * 8 * 3)  # several runs of rows
    weights = random_rows()
    expected = dict.fromkeys(SHARES, 0.0)
    for query in range(1, 7):
        for key in range(8):
            joined = annotated and 0 < key < 7 and bool(EDGES.joined[query - 1, key - 1])
            kind = "sink" if key in (0, 7) else "syntax" if joined else "local" if abs(query - key) <= 2 else "distant"
            expected[kind] += float(weights[1, query, key]) / 6
    found = shares_of(entry_of(weights, stack), EDGES if annotated else None)
    assert found[:, 1].tolist() == pytest.approx([expected[name] for name in SHARES], abs=1e-6)
    assert found.sum(0).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_the_first_token_of_a_causal_text_is_a_sink() -> None:
    plain = Tokens(pieces=("a", "b", "c", "d", "e"))
    first = torch.zeros(1, 5, 5)
    first[:, :, 0] = 1
    record = AttentionRecord.from_weights([first], plain, causal=True)
    assert shares_of(record.entries[0])[0].tolist() == [1.0]
    record = AttentionRecord.from_weights([first], plain, causal=False)
    assert shares_of(record.entries[0])[0].tolist() == [0.0]


def test_a_syntactic_head_beats_its_distances() -> None:
    weights = torch.zeros(2, 8, 8)
    weights[0, :, 0] = 1
    pairs = {1: 3, 2: 0, 3: 6, 4: 5, 5: 4, 6: 3}
    for query, key in pairs.items():
        weights[0, query] = 0
        weights[0, query, key] = 1
    weights[1, :, 0] = 1
    weights[1, 1:7] = 0
    weights[1, range(1, 7), [2, 3, 4, 5, 6, 5]] = 1
    entry = entry_of(weights)
    rates = OffsetRates()
    rates.add_text(TOKENS, EDGES)
    rates.add_site(entry)
    found = shares_of(entry, EDGES)[SHARES.index("syntax")]
    assert found.tolist() == pytest.approx([5 / 6, 1 / 6])
    by_hand = []
    for head in range(2):
        total = 0.0
        for query in range(1, 7):
            for key in range(1, 7):
                of_offset = [(q, k) for q in range(1, 7) for k in range(1, 7) if k - q == key - query]
                rate = sum(bool(EDGES.joined[q - 1, k - 1]) for q, k in of_offset) / len(of_offset)
                total += float(weights[head, query, key]) * rate / 6
        by_hand.append(total)
    expected = rates.expected(entry.site)
    assert expected.tolist() == pytest.approx(by_hand)
    assert float(found[0]) > float(expected[0]) + 0.3
    assert float(found[1]) == pytest.approx(float(expected[1]), abs=0.15)


def test_edges_join_the_pieces_of_words() -> None:
    text = AnnotatedText("unkindness hurts", ((0, 10), (11, 16)), governors=(1, None), relations=("nsubj", "root"))
    tokens = Tokens(pieces=("un", "kindness", "hurts"), spans=((0, 2), (2, 10), (11, 16)), texts=("unkindness hurts",))
    cells = edges_of(text, tokens).cells(slice(0, 3))
    assert cells.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_the_table_is_that_of_the_heads() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    found = analyzer.depth_profile(TEXTS)
    heads = analyzer.heads(TEXTS)
    of_layer = heads[heads["layer"] == 3].groupby("head")["entropy"].mean()
    row = found.table[(found.table["layer"] == 3) & (found.table["metric"] == "entropy")].iloc[0]
    assert row["mean"] == pytest.approx(of_layer.mean(), rel=1e-5)
    assert row["spread"] == pytest.approx(of_layer.std(ddof=0), rel=1e-4)
    assert (row["smallest"], row["largest"]) == pytest.approx((of_layer.min(), of_layer.max()), rel=1e-5)
    assert row["low"] <= row["mean"] <= row["high"]
    assert not found.annotated
    assert "syntax" not in found.heads
    total = found.heads[["sink", "local", "distant"]].sum(axis=1)
    np.testing.assert_allclose(total, 1, atol=1e-4)
    assert len(found.profile) == 6


def test_annotated_sentences(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(treebank(5), encoding="utf-8")
    found = depth_profile(load("demo-encoder"), read_annotated(path), metrics=[MeanEntropy()])
    assert found.annotated
    np.testing.assert_allclose(found.heads[list(SHARES)].sum(axis=1), 1, atol=1e-4)
    assert found.heads["syntax_expected"].between(0, 1).all()
    labels = found.plot().legends[0].get_texts()
    assert any("distances alone" in label.get_text() for label in labels)


def test_annotated_sentences_resume_from_a_store(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(treebank(5), encoding="utf-8")
    annotated = tuple(read_annotated(path))
    texts = [sentence.text for sentence in annotated]
    model, study = load("demo-encoder"), DepthProfiles((MeanEntropy(),), annotated)
    whole = depth_profile(model, annotated, metrics=[MeanEntropy()]).heads
    for _ in range(2):
        learned = run_studies(model, texts, [study], store=tmp_path / "store", batch_size=2)
        np.testing.assert_allclose(
            study.result(model, learned.states[0]).heads["syntax_expected"], whole["syntax_expected"], atol=1e-6
        )
    halves = [run_studies(model, part, [study]).states[0] for part in (texts[:2], [])]
    assert State.merge(halves).sums["pairs"].sum() < learned.states[0].sums["pairs"].sum()


def test_cross_attention_has_no_near() -> None:
    found = depth_profile(load("demo-translator"), ["She was born on the third of March, nineteen eighty-four."])
    cross = found.heads[found.heads["kind"] == "cross"]
    assert cross["local"].isna().all()
    np.testing.assert_allclose(cross[["sink", "distant"]].sum(axis=1), 1, atol=1e-4)
    assert found.table["low"].isna().all()  # a single text has no interval
    found.plot()
    found.plot_metrics(["entropy", "distance"])
    with pytest.raises(InputError, match="No metric 'speed'"):
        found.plot_metrics(["speed"])


def test_wrong_texts() -> None:
    loaded = load("demo-encoder")
    bare = AnnotatedText("A b.", ((0, 1), (2, 3)))
    for texts, message in (
        ([], "list of texts"),
        ("a text", "list of texts"),
        (["a", bare], "no mixture"),
        ([bare], "no dependencies"),
    ):
        with pytest.raises(InputError, match=message):
            depth_profile(loaded, texts)  # type: ignore[arg-type]
