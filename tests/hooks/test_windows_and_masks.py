"""Windows folded into the batch axis, bounded; and masks as a backend really uses them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.integrations.flex_attention import flex_attention_forward

from attention_analyzer.errors import CaptureError, TooLongError
from attention_analyzer.hooks import windows
from attention_analyzer.hooks.calls import score_source, verify
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.hooks.windows import unfold_weights
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility


def test_windows_lie_on_the_diagonal() -> None:
    folded = torch.rand(6, 5, 7, 3).softmax(-1)
    unfolded = unfold_weights(DenseWeights(folded, Visibility(7, 3)), batch=2)
    assert (unfolded.batch, *unfolded.shape) == (2, 5, 21, 9)
    for text in range(2):
        tile = unfolded.tile(text, slice(0, 5), slice(0, 21)).view(5, 3, 7, 3, 3)
        for row in range(3):
            for column in range(3):
                expected = folded[3 * text + row] if row == column else torch.zeros(5, 7, 3)
                assert torch.equal(tile[:, row, :, column], expected)


def test_windows_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = DenseWeights(torch.rand(6, 5, 7, 3).softmax(-1), Visibility(7, 3))
    size = 2 * 5 * 21 * 9 * 4
    monkeypatch.setattr(windows, "_MOST_BYTES", size)
    assert unfold_weights(weights, batch=2).nbytes == size
    monkeypatch.setattr(windows, "_MOST_BYTES", size - 1)
    with pytest.raises(TooLongError, match="3 windows of 7 queries and 3 keys"):
        unfold_weights(weights, batch=2)


# Run as written it says that it would be faster compiled.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kind", ["additive", "boolean"])
def test_flex_attention_adds_the_first_heads_mask_to_all(kind: str) -> None:
    """What the library does, whatever it should do: weights are the ones that were used."""
    numbers = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(2, 5, size, 4, generator=numbers) for size in (7, 11, 11))
    mask = torch.randn(2, 5, 7, 11, generator=numbers)
    mask = mask > 0 if kind == "boolean" else mask
    module = nn.Module().eval()
    with torch.compiler.set_stance("force_eager"):
        output, _ = flex_attention_forward(module, query, key, value, mask, scaling=0.7)
    call = AttentionCall(module, "attention", "flex_attention", query, key, value, mask, {"scaling": 0.7})
    assert verify(call, score_source(call, MaskReader()), output, None) < 1e-5
    eager = AttentionCall(module, "attention", "eager", query, key, value, mask, {"scaling": 0.7})
    with pytest.raises(CaptureError):
        verify(eager, score_source(eager, MaskReader()), output, None)
