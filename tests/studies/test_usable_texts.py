"""Texts that cannot be used, among many: an error that says which, or left out and listed, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attention_analyzer import AttentionAnalyzer, compare_models, errors
from attention_analyzer.studies import Patterns

TEXTS = [f"Tom saw a red bird, and Sue saw the {color} bird again." for color in ("blue", "old", "big", "dark", "red")]
TEXTS += ["The dog ran to the man who had a book.", "A man sat on the bed and read."]
#: Empty; too long for any bundled model; no character at all.
BAD = {1: "   ", 3: "word " * 5000, 5: "a \ud800 b"}
MIXED = [TEXTS[0], BAD[1], TEXTS[1], BAD[3], TEXTS[2], BAD[5], *TEXTS[3:]]


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def circuit_pairs(texts: list[str]) -> list[tuple[str, str]]:
    return [(text, text.replace("red", "big", 1).replace("dog", "man").replace("sat", "ran")) for text in texts]


Door = Callable[[AttentionAnalyzer, list[str], Any], Any]
DOORS: dict[str, Door] = {
    "record": lambda a, texts, errors: a.record(texts, errors=errors),
    "study": lambda a, texts, errors: a.study(texts, [Patterns(probes=False)], errors=errors),
    "label_heads": lambda a, texts, errors: a.label_heads(texts, probes=False, errors=errors),
    "programs": lambda a, texts, errors: a.programs(texts, errors=errors),
    "cache_advice": lambda a, texts, errors: a.cache_advice(texts, first=[1], last=[2], errors=errors),
    "depth_profile": lambda a, texts, errors: a.depth_profile(texts, metrics=["entropy"], errors=errors),
    "similarity": lambda a, texts, errors: a.similarity(texts, errors=errors),
    "head_importance": lambda a, texts, errors: a.head_importance(texts, errors=errors),
    "pruning_curve": lambda a, texts, errors: a.pruning_curve(texts, shares=[0.5], errors=errors),
    "compare": lambda a, texts, errors: a.compare(texts=texts, other_texts=texts, errors=errors),
    "compare_models": lambda a, texts, errors: compare_models([a, a], texts=texts, errors=errors),
    "circuit": lambda a, texts, errors: a.circuit(
        circuit_pairs(texts), lambda logits: logits[-1].float().std(), controls=0, faithfulness=0.1, errors=errors
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_bad_texts_are_left_out_and_listed(decoder: AttentionAnalyzer, door: str) -> None:
    found = DOORS[door](decoder, MIXED, "skip")
    assert found.problems["index"].tolist() == [*BAD]
    assert found.problems.columns.tolist() == ["index", "text", "reason"]
    if "compare" != door != "circuit":  # whose texts are pairs
        assert found.problems["text"].tolist() == ["   ", "word " * 8, "a \\ud800 b"]
    assert [reason.split()[0] for reason in found.problems["reason"]] == ["The"] * 3


@pytest.mark.parametrize("door", [door for door in DOORS if door not in ("record", "study", "circuit")])
def test_what_is_left_gives_the_same_as_without_bad_texts(decoder: AttentionAnalyzer, door: str) -> None:
    with_bad, without = DOORS[door](decoder, MIXED, "skip"), DOORS[door](decoder, TEXTS, "raise")
    assert with_bad.to_frame().equals(without.to_frame())
    assert without.problems.empty
    assert "3 texts were left out" in repr(with_bad)
    assert "left out" not in repr(without)


@pytest.mark.parametrize("door", DOORS)
def test_without_skipping_a_bad_text_is_an_error(decoder: AttentionAnalyzer, door: str) -> None:
    with pytest.raises(errors.InputError, match=r"(Text|Pair) 1, counted from 0 \("):
        DOORS[door](decoder, MIXED, "raise")


@pytest.mark.parametrize("door", DOORS)
def test_another_word_is_refused(decoder: AttentionAnalyzer, door: str) -> None:
    with pytest.raises(errors.InputError, match="'raise' or 'skip'"):
        DOORS[door](decoder, TEXTS, "ignore")


@pytest.mark.parametrize("door", ["record", "label_heads", "head_importance", "compare"])
def test_nothing_but_bad_texts_is_an_error(decoder: AttentionAnalyzer, door: str) -> None:
    with pytest.raises(errors.InputError, match="None of the 3 texts can be used; the first: The text is empty"):
        DOORS[door](decoder, [*BAD.values()], "skip")


def test_the_head_table_keeps_the_numbers_of_the_texts(decoder: AttentionAnalyzer) -> None:
    table = decoder.heads(MIXED, ["entropy"], errors="skip")
    assert table["text"].unique().tolist() == [index for index in range(len(MIXED)) if index not in BAD]
    assert [row["index"] for row in table.attrs["problems"]] == [*BAD]
    alone = decoder.heads(TEXTS[1], ["entropy"])["entropy"].tolist()
    assert table.loc[table["text"] == 2, "entropy"].tolist() == pytest.approx(alone, rel=1e-5)


def test_labels_stay_with_their_texts() -> None:
    encoder = AttentionAnalyzer("demo-encoder", cache=False)
    with pytest.raises(errors.InputError, match="labels"):
        encoder.head_importance(MIXED, labels=[0], errors="skip")


def test_replaced_heads(decoder: AttentionAnalyzer) -> None:
    programs = decoder.programs(TEXTS)
    found = decoder.replace_by_program(programs, MIXED, "L0H0", errors="skip")
    assert found.problems["index"].tolist() == [*BAD]
    assert found.to_frame().equals(decoder.replace_by_program(programs, TEXTS, "L0H0").to_frame())


def test_a_text_with_nothing_to_predict_is_left_out_where_heads_are_tried(decoder: AttentionAnalyzer) -> None:
    found = decoder.head_importance([*TEXTS, "a"], errors="skip")
    if len(decoder.record("a").tokens) == 1:
        assert found.problems["index"].tolist() == [len(TEXTS)]
        assert "only one token" in found.problems["reason"][0]


def test_cached_records_name_the_text_too(tmp_path: Path) -> None:
    cached = AttentionAnalyzer("demo-decoder", cache=tmp_path)
    with pytest.raises(errors.InputError, match="Text 1, counted from 0"):
        cached.record(MIXED)


@pytest.mark.parametrize(
    "command",
    [
        ["patterns", "--no-probes"],
        ["heads", "similarity"],
        ["heads", "importance"],
        ["heads", "depth"],
        ["programs"],
        ["cache-advice", "--first", "1", "--last", "2"],
        ["scan", "--lines"],
    ],
    ids=" ".join,
)
def test_commands_say_what_they_left_out(
    attn: Callable[..., tuple[int, str, str]], command: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([*TEXTS[:3], BAD[3], *TEXTS[3:]]))
    code, _, complaint = attn(*command, str(file), "--model", "demo-decoder")
    assert code != 0
    assert complaint.startswith("attn: Text 3, counted from 0")
    assert complaint.endswith("shorten it or pass --truncate.\n")
    code, _, complaint = attn(*command, str(file), "--model", "demo-decoder", "--errors", "skip")
    assert code == 0
    assert "left out: text 3, counted from 0 ('word word word" in complaint
