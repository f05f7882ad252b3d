"""A batch gives one record per text; padding is neither measured nor shown, in whatever form the mask comes."""

from __future__ import annotations

import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from tests.capture.small import ids, matrices, model_of, padded


def analyzer_of(kind: str) -> AttentionAnalyzer:
    return AttentionAnalyzer(model_of(kind), cache=False)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "positions"])
def test_every_row_has_its_own_tokens_and_weights(kind: str, side: str) -> None:
    analyzer, rows = analyzer_of(kind), ids(7, 3, 11)
    batch = padded(rows, side)
    expected = matrices(analyzer.model, **batch)
    records = analyzer.record(inputs=batch)
    assert isinstance(records, list)
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        assert record.tokens.ids == tuple(row.tolist())
        start = 11 - len(row) if side == "left" else 0
        own = slice(start, start + len(row))
        for layer, matrix in enumerate(expected):
            torch.testing.assert_close(record.weights(layer), matrix[number, :, own, own], atol=1e-5, rtol=1e-4)


def test_a_single_padded_text_is_measured_like_the_text_alone() -> None:
    analyzer, (row,) = analyzer_of("encoder"), ids(6)
    alone = analyzer.record(inputs={"input_ids": row[None]})
    for size, side in ((20, "left"), (20, "right")):
        batch = padded([row, torch.zeros(size, dtype=torch.long)], side)
        inputs = {name: value[:1] for name, value in batch.items()}
        if side == "left":
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        record = analyzer.record(inputs=inputs)
        assert len(record.tokens) == 6
        torch.testing.assert_close(
            torch.tensor(record.heads()["entropy"]), torch.tensor(alone.heads()["entropy"]), atol=1e-5, rtol=1e-5
        )


def test_a_mask_with_a_row_per_query_says_what_padding_is() -> None:
    analyzer, rows = analyzer_of("decoder"), ids(5, 8)
    batch = padded(rows, "left")
    causal = torch.ones(8, 8, dtype=torch.bool).tril()
    batch["attention_mask"] = causal[None, None] & batch["attention_mask"].bool()[:, None, None]
    records = analyzer.record(inputs=batch)
    assert [record.tokens.ids for record in records] == [tuple(row.tolist()) for row in rows]
    expected = matrices(analyzer.model, **batch | {"attention_mask": torch.where(batch["attention_mask"], 0.0, -1e30)})
    torch.testing.assert_close(records[0].weights(2), expected[2][0, :, 3:, 3:], atol=1e-5, rtol=1e-4)


def test_masked_tokens_inside_a_text_are_left_out() -> None:
    analyzer, (row,) = analyzer_of("encoder"), ids(9)
    mask = torch.ones(1, 9, dtype=torch.long)
    mask[0, [3, 4, 8]] = 0
    kept = mask[0].nonzero()[:, 0]
    record = analyzer.record(inputs={"input_ids": row[None], "attention_mask": mask})
    assert record.tokens.ids == tuple(row[kept].tolist())
    (matrix, *_) = matrices(analyzer.model, input_ids=row[None], attention_mask=mask)
    torch.testing.assert_close(record.weights(0), matrix[0][:, kept][..., kept], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", ["positions", "mask"])
def test_packed_texts_are_records_of_their_own(form: str) -> None:
    analyzer, texts = analyzer_of("decoder"), ids(4, 7, 5)
    positions = torch.cat([torch.arange(len(text)) for text in texts])[None]
    inputs = {"input_ids": torch.cat(texts)[None], "position_ids": positions, "use_cache": False}
    if form == "mask":
        number = torch.repeat_interleave(torch.arange(3), torch.tensor([4, 7, 5]))
        same = number[:, None] == number[None]
        inputs["attention_mask"] = (same & torch.ones(16, 16, dtype=torch.bool).tril())[None, None]
    records = analyzer.record(inputs=inputs)
    assert [record.tokens.ids for record in records] == [tuple(text.tolist()) for text in texts]
    for record, text in zip(records, texts, strict=True):
        alone = analyzer.record(inputs={"input_ids": text[None]})
        for layer in range(3):
            torch.testing.assert_close(record.weights(layer), alone.weights(layer), atol=1e-5, rtol=1e-4)


def test_positions_that_restart_where_texts_see_each_other_are_one_text() -> None:
    analyzer, texts = analyzer_of("decoder"), ids(4, 7)
    inputs = {
        "input_ids": torch.cat(texts)[None],
        "position_ids": torch.cat([torch.arange(len(text)) for text in texts])[None],
        "attention_mask": torch.ones(1, 11, dtype=torch.long),
    }
    record = analyzer.record(inputs=inputs)
    assert len(record.tokens) == 11
    torch.testing.assert_close(record.weights(1), matrices(analyzer.model, **inputs)[1][0], atol=1e-5, rtol=1e-4)


def test_source_and_target_are_padded_each_by_their_own_mask() -> None:
    analyzer = analyzer_of("translator")
    source, target = ids(8, 3), ids(4, 6, seed=1)
    batch, written = padded(source, "right"), padded(target, "right")
    inputs = batch | {f"decoder_{name}": value for name, value in written.items()}
    expected = matrices(analyzer.model, "cross_attentions", **inputs)
    for number, record in enumerate(analyzer.record(inputs=inputs)):
        assert record.tokens.ids == tuple(source[number].tolist())
        assert record.target_tokens.ids == tuple(target[number].tolist())
        own = expected[1][number, :, : len(target[number]), : len(source[number])]
        torch.testing.assert_close(record.weights(1, stack="decoder", kind="cross"), own, atol=1e-5, rtol=1e-4)


def test_inputs_of_another_form_are_refused() -> None:
    analyzer = analyzer_of("encoder")
    with pytest.raises(InputError, match=r"\[text, token\] was expected"):
        analyzer.record(inputs={"input_ids": torch.zeros(1, 2, 3, dtype=torch.long)})
    with pytest.raises(InputError, match="padded and with an attention_mask"):
        analyzer.record(inputs={"input_ids": [[5, 6, 7], [8]]})
    with pytest.raises(InputError, match="a mapping such as"):
        analyzer.record(inputs=[5, 6])


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.ones(1, 3), "attention_mask is for 3 tokens, but input_ids has 7"),
        ("all", "could not run on the inputs given"),
    ],
)
def test_masks_that_do_not_fit_their_text_are_refused(mask: object, says: str) -> None:
    analyzer = analyzer_of("decoder")
    with pytest.raises(InputError, match=says):
        analyzer.record(inputs={"input_ids": ids(7)[0][None], "attention_mask": mask})
