"""Figures of views: what a page shows, from the record itself; refusals; every view in every format."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_analyzer.errors import InputError, SelectionError, TooLongError, UnsupportedModelError
from attention_analyzer.record import AttentionRecord
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.annotations import Annotations, HeadClusters, TokenTrack
from attention_analyzer.view.figures import save_figure
from attention_analyzer.view.static_views.arcs import arcs
from attention_analyzer.view.static_views.lines import set_lines
from attention_analyzer.view.static_views.screen import Screen
from attention_analyzer.view.static_views.state import checked_state
from attention_analyzer.view.static_views.views import VIEWS
from tests.browser.test_views import words_record
from tests.view.records import query_key_record, translation_record


def screen(record: AttentionRecord, **state: object) -> Screen:
    return Screen(record, checked_state(state, record, None))


def test_words_and_hidden_keys_and_renormalizing_against_the_weights() -> None:
    record = words_record()
    exact = record.weights(1, 2).numpy()
    kept = exact[1:, 1:] / exact[1:, 1:].sum(-1, keepdims=True)
    columns = np.concatenate([kept[:, :3], kept[:, 3:5].sum(-1, keepdims=True), kept[:, 5:]], -1)
    rows = np.concatenate([columns[:3], columns[3:5].mean(0, keepdims=True), columns[5:]])
    shown = screen(
        record, view="matrix", site="encoder.self.1", head=2, units="words", hideSpecial=True, renormalise=True
    )
    np.testing.assert_allclose(shown.weights(), rows, atol=1e-6)
    assert [unit.label for unit in shown.units("key")] == ["the", "cats", "sat", "unbelievably", "still"]
    assert shown.hidden_text == "Hidden: 1 special token; the rest renormalized to sum to 1."
    sinks = screen(record, view="matrix", hideSinks=True)
    assert len(sinks.units("query")) == 7
    assert len(sinks.units("key")) == 6
    assert sinks.hidden_text == "Hidden: 1 sink among the keys; weights not renormalized."


def test_a_zoomed_matrix_shows_its_tile() -> None:
    record = query_key_record(queries=13, layers=1, heads=3)
    figure = record.figure(view="matrix", layer=0, head=2, zoom=[4, 9, 1, 7])
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, record.weights(0, 2)[4:9, 1:7].numpy(), atol=1e-6)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["t4", "t5", "t6", "t7", "t8"]


def test_long_axes_are_pooled_as_on_the_page() -> None:
    record = query_key_record(queries=1501, layers=1, heads=1, channels=4)
    shown = np.asarray(record.figure(view="matrix").axes[0].images[0].get_array())
    assert shown.shape == (700, 700)
    # Cells hold the weight on all their keys: rows still sum to one.
    np.testing.assert_allclose(shown.sum(-1), 1, atol=1e-4)


def test_difference_is_second_minus_first_on_shared_tokens() -> None:
    one = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.5, 0.5]]]), ["a", "b"])
    two = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.25, 0.75]]]), ["a", "b"])
    figure = one.figure(view="difference", other=two)
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), [[0, 0], [-0.25, 0.25]], atol=1e-6)
    with pytest.raises(InputError, match="second record"):
        one.figure(view="difference")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"threshold": 0.6}, {(1, 0), (3, 0)}),
        ({"pins": [2]}, {(2, 1), (2, 3)}),
        ({"keyPins": [3]}, {(2, 3)}),
        ({"pins": [1], "keyPins": [3]}, {(1, 0), (2, 3)}),
        ({"query": 2, "direction": "later"}, {(2, 3)}),
        ({"segments": "1>0"}, {(2, 1), (3, 0)}),
    ],
)
def test_arcs_draw_the_links_that_the_page_draws(state: dict[str, object], expected: set[tuple[int, int]]) -> None:
    weights = torch.tensor([[[0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0, 0.5, 0, 0.5], [1, 0, 0, 0]]])
    record = AttentionRecord.from_weights(weights, Tokens(("a", "b", "c", "d"), segments=(0, 0, 1, 1)), causal=False)
    figure = arcs(screen(record, view="arcs", **state))
    ends = [patch.get_path().vertices for patch in figure.axes[0].patches]
    top, row = 62.0, 13.5
    assert {
        (round((path[0][1] - top) / row - 0.5), round((path[-1][1] - top) / row - 0.5)) for path in ends
    } == expected


def test_heads_come_in_the_order_of_the_page() -> None:
    record = query_key_record(queries=9, layers=2, heads=3)
    figure = record.figure(view="heads", sort="entropy")
    names = [text.get_text().split()[0] for text in figure.axes[0].texts if text.get_text().startswith("L")]
    table = record.heads().sort_values("entropy", ascending=False)
    assert names == [f"L{row.layer}H{row.head}" for row in table.itertuples()]
    grouped = record.figure(
        view={"view": "heads", "group": "cluster:mine"},
        annotations=Annotations(clusters=[HeadClusters("mine", ["x", "y", "x", "x", "y", "x"])]),
    )
    names = [text.get_text().split()[0] for text in grouped.axes[0].texts if text.get_text()]
    assert names[:7] == ["x", "L0H0", "L0H2", "L1H0", "L1H2", "y", "L0H1"]


def test_products_add_up_to_the_scores() -> None:
    record = query_key_record(queries=7, layers=1, heads=2)
    figure = record.figure(view="products", head=1, query=6, order="position")
    parts = np.asarray(figure.axes[1].images[0].get_array())
    scores = torch.tensor(parts.sum(1))
    np.testing.assert_allclose(scores.softmax(0).numpy(), record.weights(0, 1)[6].numpy(), atol=1e-5)
    given = AttentionRecord.from_weights(torch.full((1, 2, 2), 0.5), ["a", "b"])
    with pytest.raises(UnsupportedModelError, match="no queries and keys"):
        given.figure(view="products", query=0)


def test_lines_read_in_their_direction() -> None:
    text = "שלום abc def עולם"
    spans = ((0, 4), (5, 8), (9, 12), (13, 17))
    tokens = Tokens(tuple(text[start:stop] for start, stop in spans), spans=spans, texts=(text,))
    placed = set_lines(tokens, lambda part, size: float(len(part)), room=40, sizes=(1, 1), box=0)
    # From the right: the first word, then the English run in its own order, then the last word.
    assert [item.token for item in sorted(placed, key=lambda item: item.x)] == [3, 1, 2, 0]
    assert max(item.x + item.width for item in placed) == pytest.approx(40)
    narrow = set_lines(tokens, lambda part, size: float(len(part)), room=9, sizes=(1, 1), box=0)
    assert [item.line for item in sorted(narrow, key=lambda item: item.token)] == [0, 0, 1, 1]


@pytest.mark.parametrize("view", [name for name in VIEWS if name not in ("difference", "picture", "sound", "parts")])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_draws_in_every_format(view: str, theme: str, tmp_path: Path) -> None:
    record = translation_record()
    figure = record.figure(view={"view": view, "theme": theme}, layer=1, stack="decoder", kind="cross", query=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("svg", "png", "pdf"):
            assert save_figure(figure, tmp_path / f"{view}.{suffix}").stat().st_size > 2000


def test_text_is_shaded_by_tracks_and_both_ways() -> None:
    record = words_record()
    tracks = Annotations(tracks=[TokenTrack("mine", record.tokens, [0.1, -0.2, 0, 0, 0, 0, 0.5])])
    for settings in ({"shade": "to", "key": 3}, {"shade": "received"}, {"shade": "track:mine"}):
        assert record.figure(view="text", annotations=tracks, **settings).axes
    with pytest.raises(SelectionError, match="there are: mine"):
        record.figure(view="text", annotations=tracks, shade="track:other")
    with pytest.raises(InputError, match="Choose a query"):
        record.figure(view="text")


def test_what_does_not_fit_is_refused() -> None:
    record = words_record()
    refused = {
        "no setting 'color'": {"color": 1},
        "not one of": {"scale": "cubic"},
        "3 heads": {"head": 3},
        "7 positions": {"query": 7},
        "no positions below 7": {"pins": [1, 9]},
    }
    for message, state in refused.items():
        with pytest.raises(InputError, match=message):
            record.figure(view="matrix", **state)
    with pytest.raises(InputError, match="not one of"):
        record.figure(view="sunburst")
    with pytest.raises(SelectionError, match="cannot be sorted"):
        record.figure(view="heads", sort="beauty")
    with pytest.raises(SelectionError, match="cannot be grouped"):
        record.figure(view="heads", group="beauty")
    with pytest.raises(TooLongError):
        query_key_record(queries=401, layers=1).figure(view="arcs")
    with pytest.raises(InputError, match="layer, or a view"):
        record.figure()
