"""The table of what written tokens looked at, against the weights themselves."""

from __future__ import annotations

import pytest
import torch

from attention_analyzer import AttentionRecord
from attention_analyzer.errors import InputError
from attention_analyzer.recording import generate, record_texts
from attention_analyzer.view.generation import written_tokens
from tests.test_recording import bart, llama


@pytest.mark.parametrize(("make", "kind"), [(llama, "self"), (bart, "cross")])
def test_rows_are_those_of_the_predicting_queries(make, kind: str) -> None:
    loaded = make()
    record = generate(loaded, "the big red dog", max_new_tokens=5, min_new_tokens=4)
    table = written_tokens(record, most=2)
    assert AttentionRecord.of(record).generated_tokens(top_keys=2).equals(table)
    entries = [e for e in record.entries if e.site.stack == "decoder" and e.site.kind == kind]
    mean = torch.stack([entry.weights.full().mean(0) for entry in entries]).mean(0)
    queries, keys = entries[0].queries, entries[0].keys
    assert table["position"].tolist() == list(
        range(record.notes["prompt_tokens"] if kind == "self" else 1, len(queries))
    )
    for row in table.itertuples():
        assert row.written == queries.pieces[row.position]
        best = int(mean[row.position - 1].argmax())
        assert row.looked_at_1 == keys.pieces[best]
        assert row.weight_1 == pytest.approx(float(mean[row.position - 1, best]), abs=1e-5)


def test_a_given_text_was_not_written() -> None:
    with pytest.raises(InputError, match=r"analyzer\.generate"):
        written_tokens(record_texts(llama(), ["the cat"])[0])
