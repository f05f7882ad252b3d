"""The levels of parts in a page, and the map of parts as a figure, against sums of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.parts import Part, between, parts_of
from attention_analyzer.record import AttentionRecord
from attention_analyzer.text.parts import Parts
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.annotations import Annotations
from attention_analyzer.view.content import payload
from attention_analyzer.view.payload import read_payload
from tests.view.records import query_key_weights

TEXT = "<u>One is here. <u>Two went home. Three saw it.\n\nFour."
WORDS = ["<u>", "One", "is", "here", ".", "<u>", "Two", "went", "home", ".", "Three", "saw", "it", ".", "Four", "."]


def parts_record(*, causal: bool = True) -> AttentionRecord:
    """Sixteen tokens in four sentences and two paragraphs; special tokens stand in the text, as in a chat's."""
    spans, at = [], 0
    for word in WORDS:
        at = TEXT.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    special = tuple(word == "<u>" for word in WORDS)
    tokens = Tokens(
        tuple(WORDS),
        spans=tuple(None if flag else span for flag, span in zip(special, spans, strict=True)),
        is_special=special,
        texts=(TEXT,),
    )
    weights = query_key_weights(heads=2, queries=16, keys=16, channels=4, causal=causal)
    return AttentionRecord.from_weights([weights.full()] * 2, tokens, model_name="given")


def summed(record: AttentionRecord, parts: Parts, head: int) -> np.ndarray:
    members = np.eye(len(parts))[list(parts.owners)]
    return members.T @ record.weights(0, head).double().numpy() @ members / members.sum(0)[:, None]


def test_a_page_has_the_levels_that_divide_its_text_and_those_added() -> None:
    record = parts_record()
    own = parts_of(record.tokens, [Part("claim", 3, 15)])
    header = read_payload(payload(record, annotations=Annotations(parts=[own]))).header
    table = header["records"][0]["tokens"][0]
    assert [level["name"] for level in table["levels"]] == ["span", "paragraph", "sentence"]
    assert table["levels"][0]["names"] == list(own.names) and table["levels"][0]["borders"] == list(own.borders)
    assert table["levels"][2]["borders"] == list(record.parts("sentence").borders)
    # Special tokens that the text spells are shown once: as tokens, and not in the gaps as well.
    shown = "".join(gap + surface for gap, surface in zip(table["gaps"], table["surfaces"], strict=True))
    assert shown == TEXT
    with pytest.raises(InputError, match="do not belong to the tokens"):
        payload(record, annotations=Annotations(parts=[parts_of(Tokens.of_pieces(["a", "b"]), [Part("x", 0, 1)])]))


def test_a_text_of_one_sentence_has_no_levels() -> None:
    tokens = Tokens(("One", "is"), spans=((0, 3), (4, 6)), texts=("One is",))
    record = AttentionRecord.from_weights([torch.full((1, 2, 2), 0.5)], tokens)
    assert read_payload(payload(record)).header["records"][0]["tokens"][0]["levels"] == []
    with pytest.raises(InputError, match="only one part at each level"):
        record.figure(view="parts")


def test_the_figure_shows_sums_of_weights_by_part() -> None:
    record = parts_record()
    parts = record.parts("sentence")
    figure = record.figure(view="parts", layer=0, head=1, level="sentence")
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), summed(record, parts, 1), atol=1e-6)
    with pytest.raises(SelectionError, match="there are paragraph, sentence"):
        record.figure(view="parts", level="turn")


def test_above_chance_is_the_weight_minus_the_share_of_visible_keys() -> None:
    weights = query_key_weights(heads=2, queries=16, keys=16, channels=4, causal=True)
    given = parts_record()
    entry = given.entries[0]
    record = AttentionRecord((type(entry)(entry.site, weights, entry.queries, entry.keys),), model_name="x")
    parts = record.parts("sentence")
    expected = between(record, parts)
    figure = record.figure(view="parts", head=1, level="sentence", values="above_chance")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, expected.weights[1] - expected.by_size[1], atol=1e-5)
    assert read_payload(payload(record)).header["records"][0]["sites"][0]["band"] == [None, 0]


def test_without_a_band_a_share_of_keys_is_refused_in_one_sentence() -> None:
    weights = query_key_weights(heads=2, queries=16, keys=16, channels=4, causal=False)
    source = weights.source
    seen = type(source.visibility)(16, 16, key_seen=torch.arange(16)[None] != 3)
    hidden = type(weights)(type(source)(source.query, source.key, source.scaling, seen))
    entry = parts_record().entries[0]
    record = AttentionRecord((type(entry)(entry.site, hidden, entry.queries, entry.keys),), model_name="x")
    assert read_payload(payload(record)).header["records"][0]["sites"][0]["band"] is None
    with pytest.raises(UnsupportedModelError, match=r"record\.between"):
        record.figure(view="parts", values="above_chance")
