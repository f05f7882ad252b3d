"""Knock-outs by names of parts are those of the parts' tokens."""

from __future__ import annotations

import pytest

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import SelectionError
from attention_analyzer.interventions import KnockOut
from attention_analyzer.interventions.part_edges import with_positions

TEXT = "The boy named Tom went home. He saw the house. Then the boy named"


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    return AttentionAnalyzer("demo-decoder", cache=False).record(TEXT)


def test_names_and_positions_do_the_same(record: AttentionRecord) -> None:
    parts = record.parts("sentence")
    queries, keys = list(parts.positions("sentence 3")), list(parts.positions("sentence 1"))
    by_name = record.what_if(knock_out="sentence 3>sentence 1", target=" Tom")
    by_number = record.what_if(knock_out=KnockOut("*", queries, keys), target=" Tom")
    assert by_name.after == by_number.after < by_name.before
    of_text = AttentionAnalyzer("demo-decoder", cache=False).what_if(
        TEXT, knock_out=["sentence 3>sentence 1"], target=" Tom"
    )
    assert of_text.after == by_name.after


def test_heads_and_positions_mix_with_names(record: AttentionRecord) -> None:
    parts = record.parts("sentence")
    (found,) = with_positions(["L1H2:last>sentence 1"], record.tokens)  # type: ignore[misc]
    assert found == KnockOut("L1H2", "last", list(parts.positions("sentence 1")))
    assert with_positions("L2H5:7>3", record.tokens) == "L2H5:7>3"
    assert with_positions("L2:*>0", record.tokens) == "L2:*>0"


def test_the_answer_is_what_was_written() -> None:
    written = AttentionAnalyzer("demo-decoder", cache=False).generate("The boy named Tom", max_new_tokens=4)
    edge = with_positions("answer>0", written.tokens, written.notes["prompt_tokens"])
    assert isinstance(edge, KnockOut) and edge.queries == list(
        range(written.notes["prompt_tokens"], len(written.tokens))
    )


def test_an_unknown_part_is_named(record: AttentionRecord) -> None:
    with pytest.raises(SelectionError, match=r"no part .document 9. .*; it has sentences, as in"):
        record.what_if(knock_out="last>document 9")
