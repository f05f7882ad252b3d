"""A tracker looks at every head while a model is trained, and leaves the training exactly as it would have been."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from attention_analyzer.arguments import explain_arguments
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.training.history import History
from attention_analyzer.training.loggers import Scalars
from attention_analyzer.training.schedule import Budget, LogSpaced, Schedule
from attention_analyzer.training.snapshot import Measuring
from attention_analyzer.training.snapshot_store import MomentStore
from attention_analyzer.training.state_guard import bare, is_recording_process, untouched


@explain_arguments
class AttentionTracker(TrainerCallback):  # type: ignore[misc]
    """Records every head's metrics and pattern strengths on fixed texts while a model is trained.

    As a callback of transformers' Trainer:

    >>> trainer = Trainer(model, args, train_dataset=…, callbacks=[AttentionTracker("history", tokenizer)])

    or in any loop of one's own:

    >>> tracker = AttentionTracker("history", tokenizer)
    >>> for step, batch in enumerate(batches, start=1):
    ...     …  # forward, backward, optimizer.step()
    ...     tracker.step(model, step, loss=loss)
    >>> tracker.finish()

    The training is not changed: random states, modes, gradients and buffers are afterwards what they were, and the
    losses are the same, bit for bit. Compiled models run as written for the probes. In distributed data parallel
    training the first process records. A resumed training goes on in the same folder.

    Args:
        folder: where the history goes; see :meth:`.History.load`.
        tokenizer: of the model; under the Trainer its ``processing_class`` by default.
        texts: the probe texts; :data:`.probes.TEXTS` by default. Models of one stack read repeated random tokens too,
            on which induction is measured.
        schedule: when to look; by default at steps that grow by a constant factor, ten for each factor of ten.
        share: of the training time that looking may take; a moment that is due waits until it fits. The first and the
            last moment are always recorded; None for no limit.
        metrics, patterns: what to measure.
        keep_patterns: whether every head's pattern on the shortest text is kept.
        scalars: whether summaries go to TensorBoard (under ``folder/tensorboard``, where it is installed) and to the
            running Weights & Biases run.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Any = None,
        *,
        texts: Sequence[str | Pair] | None = None,
        schedule: Schedule | None = None,
        share: float | None = 0.02,
        metrics: Sequence[Metric | str] = METRICS,
        patterns: Sequence[Pattern] = PATTERNS,
        keep_patterns: bool = True,
        scalars: bool = True,
    ) -> None:
        self.store = MomentStore(folder)
        self.tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        self.texts = None if texts is None else list(texts)
        self.schedule = schedule or LogSpaced()
        self.budget = Budget(share)
        self.metrics, self.patterns, self.keep_patterns = tuple(metrics), tuple(patterns), keep_patterns
        self.scalars = Scalars(self.store.folder) if scalars else None
        self._measuring: Measuring | None = None
        self._model: nn.Module | None = None
        self._last: int | None = None
        self._last_at = 0.0
        self._step = 0
        self._known: dict[str, float] = {}

    @property
    def history(self) -> History:
        """What has been recorded so far."""
        return History.load(self.store.folder)

    # In a loop of one's own

    def step(self, model: nn.Module, step: int, *, loss: Any = None, tokens_seen: int | None = None) -> bool:
        """To be called after each optimizer step (and with 0 before the first): looks if it is time to.

        Args:
            model: as it is trained; wrapped or compiled, if it is.
            step: optimizer steps done.
            loss: of this step, a number or a tensor; stored with the moment.
            tokens_seen: so far; stored with the moment.

        Returns:
            Whether a moment was recorded.

        Raises:
            InputError: the folder holds another training's history.
            UnsupportedModelError: no process has the whole model.
            CaptureError: the weights do not reproduce the model's outputs, or hold NaN.
        """
        if not is_recording_process():
            return False
        self._model, self._step = model, step
        self._known = {
            name: value.item() if isinstance(value, torch.Tensor) else float(value)
            for name, value in (("loss", loss), ("tokens_seen", tokens_seen))
            if value is not None
        }
        self._begin(model, step)
        due = self.schedule.is_due(step, self._last, time.perf_counter() - self._last_at)
        if not due or not self.budget.allows():
            return False
        self._record()
        return True

    def finish(self) -> None:
        """To be called after the last step: records it, if that has not happened, and closes what is open."""
        if self._model is not None and self._last != self._step:
            self._record()
        if self.scalars is not None:
            self.scalars.close()
        self._model = self._measuring = None

    # As a callback

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.tokenizer is None:
            given = kwargs.get("processing_class")
            self.tokenizer = getattr(given, "tokenizer", given)
        self.step(kwargs["model"], state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.step(kwargs["model"], state.global_step, **_logged(state))
        if state.global_step >= state.max_steps:
            # Now and not at the end: by then the Trainer may have loaded its best checkpoint instead.
            self.finish()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.load_best_model_at_end:
            self._model = None
        self._known = _logged(state)
        self.finish()

    # Inside

    def _begin(self, model: nn.Module, step: int) -> None:
        if self._measuring is not None:
            return
        _check_whole(model)
        if self.tokenizer is None:
            raise InputError("The tracker has no tokenizer for its texts; pass tokenizer=….")
        self.budget.start()
        self.store.begin_at(step)
        with untouched(bare(model)):
            self._measuring = Measuring(
                self._loaded(model),
                self.texts,
                metrics=self.metrics,
                patterns=self.patterns,
                keep_patterns=self.keep_patterns,
            )
        self.store.describe(self._loaded(model).name, *self._measuring.kept_tokens)
        earlier = self.store.steps
        self._last = earlier[-1] if earlier else None
        self._last_at = time.perf_counter()
        self.budget.charge(self.budget.elapsed, is_moment=False)

    def _record(self) -> None:
        assert self._model is not None and self._measuring is not None
        began = time.perf_counter()
        inner = bare(self._model)
        with untouched(inner):
            table = self._measuring.table(self._loaded(inner))
        known = {"step": self._step, **self._known, "seconds": self.budget.elapsed}
        for position, (name, value) in enumerate(known.items()):
            table.insert(position, name, value)
        self.store.write(self._step, table)
        if self.scalars is not None:
            self.scalars.write(self._step, table)
        self._last, self._last_at = self._step, time.perf_counter()
        self.budget.charge(self._last_at - began)

    def _loaded(self, model: nn.Module) -> LoadedModel:
        inner = bare(model)
        name = getattr(getattr(inner, "config", None), "_name_or_path", "") or type(inner).__name__
        return LoadedModel(inner, self.tokenizer, name)


def _logged(state: TrainerState) -> dict[str, Any]:
    """The loss that the Trainer logged last, and the tokens it counted, where it does."""
    losses = [entry["loss"] for entry in state.log_history[-3:] if "loss" in entry]
    tokens = int(getattr(state, "num_input_tokens_seen", 0) or 0)
    known: dict[str, Any] = {"tokens_seen": tokens} if tokens else {}
    return known | ({"loss": losses[-1]} if losses and math.isfinite(losses[-1]) else {})


def _check_whole(model: nn.Module) -> None:
    """Refuse a model whose parameters are spread over processes: one process alone cannot run it.

    Raises:
        UnsupportedModelError: it is sharded (FSDP, ZeRO 3, tensor parallelism).
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    from torch.distributed.tensor import DTensor

    sharded = any(isinstance(each, DTensor) or hasattr(each, "ds_id") for each in model.parameters())
    sharded = sharded or any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())
    if sharded:
        raise UnsupportedModelError(
            "The parameters are spread over processes (FSDP, ZeRO 3 or tensor parallelism), so no process can run the "
            "model alone; leave the tracker out and use track_checkpoints on the saved checkpoints."
        )
