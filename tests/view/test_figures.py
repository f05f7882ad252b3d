"""Figures show what the record holds, for short and long texts and any characters."""

from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

from attention_analyzer import AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.view import fonts as view_fonts
from attention_analyzer.view.canvas import MissingGlyphWarning
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


# Characters

HOSTILE = [
    "中文",
    "مَرْحَبًا",
    "می\u200cخواهم",
    "हिन्दी",
    "ภาษาไทย",
    "😀",
    "🤖",
    "a\u200bb",
    "\ufeff",
    "\ud800",
    "\x1b[31m",
    "\u202eabc",
]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("settings", [{"layer": 0, "head": 0}, {"layer": 0}, {"layer": 0, "head": 0, "view": "arcs"}])
def test_no_character_breaks_a_figure(tmp_path: Path, suffix: str, settings) -> None:
    pieces = [*HOSTILE, "\u200d", "\u0301", "\ue000", "\U000e0067"]
    path = save_figure(record(len(pieces), pieces).figure(**settings), tmp_path / f"f.{suffix}")
    assert path.stat().st_size > 1000


def test_titles_are_as_safe_as_labels(tmp_path: Path) -> None:
    figure = grid_figure([[1.0]], title="a\ufeffb\ud800")
    save_figure(figure, tmp_path / "f.pdf")
    assert figure.axes[0].get_title(loc="left") == "a‹BOM›b‹U+D800›"


def test_labels_show_what_is_invisible() -> None:
    figure = head_figure(record(len(HOSTILE), HOSTILE), 0, 0)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[7:] == ["a‹ZWSP›b", "‹BOM›", "‹U+D800›", "‹ESC›[31m", "‹RLO›abc"]


def test_fonts_of_this_machine_are_found_for_what_the_preferred_ones_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib brings DejaVu Sans and STIX; a script letter is in the second alone."""
    letter = "\U0001d4d0" if not _has("DejaVu Sans", 0x1D4D0) else "\u2a0c"
    monkeypatch.setattr(view_fonts, "_PREFERRED", ("DejaVu Sans Mono",))
    view_fonts.fonts.cache_clear()
    try:
        assert view_fonts.fonts() == ("DejaVu Sans Mono",)
        found = view_fonts.fonts_for(f"a{letter}")
        assert len(found) == 2
        assert _has(found[1], ord(letter))
        assert view_fonts.fonts_for("a") == ("DejaVu Sans Mono",)
    finally:
        monkeypatch.undo()
        view_fonts.fonts.cache_clear()


def _has(family: str, code: int) -> bool:
    return code in FT2Font(findfont(family)).get_charmap()


def test_missing_glyphs_are_said_once_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_fonts, "_font_with", lambda character: None)
    monkeypatch.setattr(view_fonts, "fonts", lambda: ("DejaVu Sans",))
    figure = head_figure(record(3, ["中文", "字", "🤖"]), 0, 0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        save_figure(figure, tmp_path / "f.png")
        save_figure(figure, tmp_path / "f.pdf")
        figure.savefig(tmp_path / "again.png")
    assert [each.category for each in said] == [MissingGlyphWarning]
    (message,) = [str(each.message) for each in said]
    assert message.startswith("No font of this machine has 中, 文, 字, 🤖: boxes are drawn")
    assert "fonts-noto-cjk and fonts-symbola" in message


def test_svg_text_stays_text_without_a_word_about_glyphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_fonts, "_font_with", lambda character: None)
    figure = head_figure(record(3, ["中文", "b<c", "d"]), 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "text.svg", svg_text=True)
    save_figure(head_figure(record(3), 0, 0), tmp_path / "outlines.svg")
    texts = [each.text for each in ET.parse(tmp_path / "text.svg").iter() if each.tag.endswith("}text")]
    assert {"中文", "b<c", "d", "attention weight"} <= set(texts)
    assert "<text" not in (tmp_path / "outlines.svg").read_text()
    with pytest.raises(InputError, match="SVG files alone"):
        save_figure(figure, tmp_path / "f.png", svg_text=True)


def test_a_failed_save_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_figure(head_figure(record(3), 0, 0), tmp_path / "f.png")
    before = path.read_bytes()

    def full_disk(self: object, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(InputError, match="No space left"):
        save_figure(head_figure(record(4), 0, 0), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["f.png"]
