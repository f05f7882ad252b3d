"""Figures show what the record holds, for short and long texts and any characters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.view.figures import grid_figure, head_figure, layer_figure, map_figure, pooled, save_figure


def record(count: int, pieces: list[str] | None = None, heads: int = 3) -> AttentionRecord:
    torch.manual_seed(0)
    layers = [torch.softmax(4 * torch.randn(heads, count, count), -1) for _ in range(2)]
    return AttentionRecord.from_weights(layers, pieces or [f"t{index}" for index in range(count)])


def test_a_head_is_drawn_as_it_is() -> None:
    shown = record(7)
    figure = head_figure(shown, 1, 2)
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(np.asarray(image.get_array()), shown.weights(1, 2).numpy())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"t{index}" for index in range(7)]


def test_all_heads_of_a_layer_are_drawn() -> None:
    titles = [axes.get_title() for axes in layer_figure(record(5, heads=6), 1).axes]
    assert [title for title in titles if title] == [f"L1H{head}" for head in range(6)]


def test_a_map_has_the_tables_values() -> None:
    shown = record(6)
    image = map_figure(shown, "entropy").axes[0].images[0]
    expected = shown.heads().pivot_table(index="layer", columns="head", values="entropy").to_numpy()
    np.testing.assert_allclose(np.asarray(image.get_array()), expected)
    with pytest.raises(InputError, match="no metric 'beauty'"):
        map_figure(shown, "beauty")
    with pytest.raises(SelectionError, match="no encoder cross-attention"):
        map_figure(shown, "entropy", kind="cross", stack="encoder")


def test_long_texts_are_pooled_by_the_largest_weight() -> None:
    entry = record(130).entry(0)
    small = pooled(entry, 1, finest=50)
    whole = entry.weights[1].numpy()
    assert small.shape == (44, 44)
    for row in range(44):
        for column in range(44):
            assert small[row, column] == whole[row * 3 : row * 3 + 3, column * 3 : column * 3 + 3].max()


def test_hostile_and_foreign_tokens(tmp_path) -> None:
    pieces = ["$x^2$", "\\frac{", "مرحبا", "日本", "😀", "\n", "\x00", " ", "<b>", "a" * 90, "%", "_"]
    for suffix in ("png", "svg", "pdf"):
        path = save_figure(head_figure(record(12, pieces), 0, 0), tmp_path / f"f.{suffix}")
        assert path.stat().st_size > 1000


def test_signed_grids_meet_at_zero() -> None:
    image = grid_figure([[-1.0, 3.0], [0.5, float("nan")]], title="d", diverging=True).axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-3, 3)


def test_unknown_formats_are_refused_before_drawing(tmp_path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        save_figure(head_figure(record(3), 0, 0), tmp_path / "f.gif")
    with pytest.raises(InputError, match="could not be written"):
        save_figure(head_figure(record(3), 0, 0), tmp_path / "no" / "f.png")
