"""The tracker in real trainings: it records, and the training is the same bit for bit with and without it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.training import AttentionTracker, EveryNSteps, History
from attention_analyzer.training.snapshot import Measuring
from tests.training.conftest import HEADS, LAYERS, TEXTS, rows, tiny_model, train_by_trainer


def tracker_in(folder: Path, tokenizer: Any = None, **options: Any) -> AttentionTracker:
    return AttentionTracker(folder, tokenizer, **{"schedule": EveryNSteps(2), "share": None, "texts": TEXTS} | options)


#: torch warns of itself when it traces what reads a tensor's gradient.
COMPILING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@COMPILING
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_checkpointing": True},
        {"bf16": True},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        {"torch_compile": True, "torch_compile_backend": "eager"},
    ],
    ids=["plain", "gradient checkpointing", "bf16 autocast", "gradient accumulation", "compiled"],
)
def test_the_training_is_the_same_with_and_without_it(tmp_path: Path, tokenizer, options: dict[str, Any]) -> None:
    without, bare = train_by_trainer(tmp_path / "a", tokenizer, **options)
    torch._dynamo.reset()
    tracker = tracker_in(tmp_path / "history")
    with_it, tracked = train_by_trainer(tmp_path / "b", tokenizer, tracker, **options)
    assert with_it == without
    assert len(without) == 6
    for (name, one), other in zip(bare.model.named_parameters(), tracked.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    history = tracker.history
    assert history.steps == [0, 2, 4, 6]
    assert len(history.heads) == LAYERS * HEADS
    assert np.isfinite(history.wide("entropy").to_numpy()).all()
    assert history.loss.index.tolist() == [2, 4, 6]


def test_what_is_recorded_is_what_the_model_does_then(tmp_path: Path, tokenizer) -> None:
    tracker = tracker_in(tmp_path / "history")
    _, trainer = train_by_trainer(tmp_path / "run", tokenizer, tracker)
    trainer.model.eval()
    expected = Measuring(LoadedModel(trainer.model, tokenizer), TEXTS).table(LoadedModel(trainer.model, tokenizer))
    recorded = tracker.history.at(6)
    for column in ("entropy", "first_weight", "induction", "previous_token", "previous_token_control"):
        assert recorded[column].to_numpy() == pytest.approx(expected[column].to_numpy(), abs=1e-6), column
    changed = (tracker.history.at(0)["entropy"] - recorded["entropy"]).abs().max()
    assert changed > 1e-4


def loop(tracker: AttentionTracker | None, tokenizer: Any, steps: int = 5, first: int = 0) -> tuple[list[float], Any]:
    """A training by hand that leans on everything a look could disturb."""
    model = tiny_model(len(tokenizer))
    model.register_buffer("calls", torch.zeros(()))
    model.transformer.h[1].eval()  # one part is frozen in evaluation mode

    def count(*_: Any) -> None:
        model.calls.add_(1)

    hook = model.register_forward_hook(count)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    losses = []
    if tracker is not None and first == 0:
        tracker.step(model, 0)
    data = rows(tokenizer)
    for step in range(first + 1, steps + 1):
        row = data[(step + random.randrange(16) + np.random.randint(16)) % 16]["input_ids"][None]
        loss = model(row, labels=row).loss
        loss.backward()
        if tracker is not None:
            tracker.step(model, step, loss=loss, tokens_seen=11 * step)  # between backward and the optimizer: gradients
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    hook.remove()
    if tracker is not None:
        tracker.finish()
    assert not model.transformer.h[1].training and model.transformer.h[0].training
    return [*losses, float(model.calls), float(torch.rand(())), random.random(), np.random.random()], model


def test_random_states_modes_gradients_and_buffers_are_put_back(tmp_path: Path, tokenizer) -> None:
    without, bare = loop(None, tokenizer)
    tracker = tracker_in(tmp_path / "history", tokenizer, schedule=EveryNSteps(1))
    with_it, tracked = loop(tracker, tokenizer)
    assert with_it == without
    for one, other in zip(bare.parameters(), tracked.parameters(), strict=True):
        assert torch.equal(one, other)
    assert tracker.history.steps == [0, 1, 2, 3, 4, 5]
    assert tracker.history.table.groupby("step")["tokens_seen"].first().tolist()[1:] == [11, 22, 33, 44, 55]


@COMPILING
def test_compiled_code_is_not_compiled_anew(tmp_path: Path, tokenizer) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = tiny_model(len(tokenizer))
    compiled = torch.compile(model, backend="aot_eager")
    row = rows(tokenizer)[0]["input_ids"][None]
    tracker = tracker_in(tmp_path / "history", tokenizer, schedule=EveryNSteps(1))
    compiled(row, labels=row).loss.backward()
    frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for step in range(3):
        tracker.step(compiled, step)
        compiled(row, labels=row).loss.backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == frames > 0
    assert tracker.history.steps == [0, 1, 2]


def test_a_resumed_training_goes_on_in_the_same_history(tmp_path: Path, tokenizer) -> None:
    options = {"save_strategy": "steps", "save_steps": 3}
    whole = tracker_in(tmp_path / "whole", schedule=EveryNSteps(1))
    train_by_trainer(tmp_path / "run", tokenizer, whole, **options)
    again = tracker_in(tmp_path / "whole", schedule=EveryNSteps(1))
    before = whole.history
    # What was recorded after the checkpoint belongs to the run that was cut off; it is recorded anew.
    (tmp_path / "whole" / "moments" / "step-000000005.parquet").unlink()
    train_by_trainer(tmp_path / "run", tokenizer, again, resume=str(tmp_path / "run" / "checkpoint-3"), **options)
    after = again.history
    assert after.steps == before.steps == [0, 1, 2, 3, 4, 5, 6]
    assert after.wide("entropy").to_numpy() == pytest.approx(before.wide("entropy").to_numpy(), abs=1e-6)


def test_another_training_does_not_overwrite_a_history(tmp_path: Path, tokenizer) -> None:
    loop(tracker_in(tmp_path / "history", tokenizer), tokenizer)
    with pytest.raises(InputError, match="up to step 5, but this one begins at step 0"):
        loop(tracker_in(tmp_path / "history", tokenizer), tokenizer)
    with pytest.raises(InputError, match="other texts"):
        tracker_in(tmp_path / "history", tokenizer, texts=["Something else."]).step(tiny_model(len(tokenizer)), 9)
    assert History.load(tmp_path / "history").steps == [0, 2, 4, 5]


def test_without_a_tokenizer_it_says_what_is_missing(tmp_path: Path, tokenizer) -> None:
    with pytest.raises(InputError, match="pass tokenizer"):
        tracker_in(tmp_path).step(tiny_model(len(tokenizer)), 0)


def test_scalars_go_to_tensorboard(tmp_path: Path, tokenizer) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = tracker_in(tmp_path / "history", tokenizer)
    loop(tracker, tokenizer)
    events = EventAccumulator(str(tmp_path / "history" / "tensorboard"))
    events.Reload()
    assert "attention/strongest/induction" in events.Tags()["scalars"]
    found = {event.step: event.value for event in events.Scalars("attention/entropy/decoder.self.1")}
    expected = tracker.history.entropy_by_layer()["decoder", "self", 1]
    assert found == pytest.approx(expected.to_dict(), rel=1e-5)


_SPREAD = """
import sys, torch
import torch.distributed as dist
from attention_analyzer.training import AttentionTracker, EveryNSteps
from tests.training.conftest import TEXTS, rows, tiny_model
from transformers import AutoTokenizer
from attention_analyzer.models.catalog import BUNDLED

folder, rank = sys.argv[1], int(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(BUNDLED / "demo-decoder")
dist.init_process_group("gloo", init_method="file:" + "//" + folder + ".meeting", rank=rank, world_size=2)
found = []
for tracked in (True, False):
    model = torch.nn.parallel.DistributedDataParallel(tiny_model(len(tokenizer)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(rank)
    tracker = AttentionTracker(folder, tokenizer, texts=TEXTS, schedule=EveryNSteps(1), share=None, scalars=False)
    losses = []
    for step in range(1, 4):
        row = rows(tokenizer)[2 * step + rank]["input_ids"][None]
        loss = model(row, labels=row).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if tracked:
            assert tracker.step(model, step, loss=loss) == (rank == 0)
        losses.append(loss.item())
    tracker.finish()
    found.append(losses)
assert found[0] == found[1], found
dist.destroy_process_group()
"""


def test_in_distributed_training_the_first_process_records(tmp_path: Path) -> None:
    folder, root = tmp_path / "history", str(Path(__file__).resolve().parents[2])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _SPREAD, str(folder), str(rank)],
            cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for process in started:
        _, problems = process.communicate(timeout=240)
        assert process.returncode == 0, problems[-3000:]
    assert History.load(folder).steps == [1, 2, 3]


_KILLED = """
import sys, pandas as pd
from pathlib import Path
from attention_analyzer.training.snapshot_store import MomentStore
store = MomentStore(sys.argv[1])
store.describe("killed", (), ())
table = pd.DataFrame({"stack": "decoder", "kind": "self", "layer": 0, "head": range(2000), "entropy": 0.5})
for step in range(1, 100_000):
    store.write(step, table.assign(step=step))
    print(step, flush=True)
"""


def test_a_killed_process_leaves_whole_moments(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "history")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
    history = History.load(tmp_path / "history")
    assert history.steps[: len(written)] == written
    assert len(history.table) == 2000 * len(history.steps)
