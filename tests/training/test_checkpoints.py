"""A history from saved checkpoints is the one that a tracker would have recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attention_analyzer.errors import InputError
from attention_analyzer.training import AttentionTracker, EveryNSteps, track_checkpoints
from tests.training.conftest import TEXTS, tiny_model, train_by_trainer


def test_checkpoints_give_the_trackers_history(tmp_path: Path, tokenizer) -> None:
    tracker = AttentionTracker(tmp_path / "tracked", schedule=EveryNSteps(3), share=None, texts=TEXTS, scalars=False)
    train_by_trainer(tmp_path / "run", tokenizer, tracker, save_strategy="steps", save_steps=3)
    done: list[tuple[int, int]] = []
    found = track_checkpoints(
        tmp_path / "run", tmp_path / "later", texts=TEXTS, device="cpu", progress=lambda *each: done.append(each)
    )
    assert found.steps == [3, 6]
    assert done == [(0, 2), (1, 2), (2, 2)]
    for step in found.steps:
        expected = tracker.history.at(step)["entropy"].to_numpy()
        assert found.at(step)["entropy"].to_numpy() == pytest.approx(expected, abs=1e-5)
    # What is measured already is not measured again.
    part = tmp_path / "later" / "moments" / "step-000000003.parquet"
    before = part.stat().st_mtime_ns
    assert track_checkpoints(tmp_path / "run", tmp_path / "later", texts=TEXTS).steps == [3, 6]
    assert part.stat().st_mtime_ns == before


def test_folders_without_steps_or_checkpoints_are_refused(tmp_path: Path, tokenizer) -> None:
    with pytest.raises(InputError, match="no folder"):
        track_checkpoints(tmp_path / "nowhere")
    with pytest.raises(InputError, match="contains no checkpoints"):
        track_checkpoints(tmp_path)
    torch.manual_seed(0)
    tiny_model(len(tokenizer)).save_pretrained(tmp_path / "final")
    with pytest.raises(InputError, match="name has no number"):
        track_checkpoints(tmp_path)
