"""The one training loop behind all three models: seeded, resumable, with a progress bar.

Batches are a function of the step alone, so a run that was cut off continues with exactly the
batches it would have seen. Matrices inside the layers are trained with Muon, everything else with
AdamW; one learning rate serves both because Muon's update is scaled to AdamW's size.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from demo_models.shared_cores import SharedCores

Batch = dict[str, Tensor]
SECONDS_BETWEEN_SAVES = 90


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    `rate` is a broken line: (step, share of the learning rate) from the first step to the last.
    With `minutes` the clock may run ahead of the steps: half the minutes gone is half the line gone,
    so that a run on a busy machine still ends in time with its learning rate fully come down.
    """

    rate: tuple[tuple[int, float], ...]
    learning_rate: float
    weight_decay: float = 0.05
    seed: int = 0
    minutes: float | None = None

    @property
    def steps(self) -> int:
        """The last step of the line."""
        return self.rate[-1][0]

    def progress(self, step: int, seconds: float) -> float:
        """The share of the run that is behind us after `step` steps and `seconds` of training."""
        by_clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, by_clock))

    def rate_at(self, progress: float) -> float:
        """The learning rate of the step that comes after this share of the run."""
        places, shares = zip(*self.rate, strict=True)
        return self.learning_rate * float(np.interp(progress * self.steps + 1, places, shares))


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves behind: one loss per step, and the time it took in all."""

    losses: list[float]
    seconds: float


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module, Batch], Tensor],
    batch_at: Callable[[int], Batch],
    plan: Plan,
    *,
    scratch: Path,
    milestones: Collection[int] = (),
    at_milestone: Callable[[int, nn.Module], None] | None = None,
) -> Outcome:
    """Train `model` in place; `at_milestone` sees it after each of `milestones` steps (0 is untrained)."""
    cores = SharedCores()
    torch.manual_seed(plan.seed)
    place = device()
    model.to(place).train()
    optimizers = _optimizers(model, plan)
    state_path = scratch / "state.pt"
    first, losses, earlier = _resume(state_path, model, optimizers)
    compiled = torch.compile(
        lambda batch: loss_of(model, batch),
        dynamic=False,
        options={"cpp.dynamic_threads": True},  # so that `cores` can change its mind
    )

    began = saved = time.monotonic()
    bar = tqdm(range(first, plan.steps), initial=first, total=plan.steps, mininterval=10)
    for step in bar:
        done = plan.progress(step, earlier + time.monotonic() - began)
        if done >= 1.0:
            break
        if at_milestone and step in milestones:
            at_milestone(step, model)
        step_began = time.monotonic()
        rate = plan.rate_at(done)
        batch = {name: values.to(place) for name, values in batch_at(step).items()}
        with torch.autocast(place.type, torch.bfloat16):
            loss = compiled(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        cores.after_step(time.monotonic() - step_began)
        bar.set_postfix(loss=f"{losses[-1]:.3f}", done=f"{done:.0%}", refresh=False)
        if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
            saved = time.monotonic()
            _save(state_path, model, optimizers, losses, earlier + saved - began)
    seconds = earlier + time.monotonic() - began
    _save(state_path, model, optimizers, losses, seconds)
    if at_milestone and plan.steps in milestones:
        at_milestone(plan.steps, model)
    model.eval()
    return Outcome(losses, seconds)


def write_loss_curve(losses: list[float], path: Path, points: int = 100) -> None:
    """Mean training loss of `points` equal stretches, as CSV."""
    width = max(1, len(losses) // points)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        for start in range(0, len(losses) - width + 1, width):
            stretch = losses[start : start + width]
            writer.writerow([start + width, f"{sum(stretch) / width:.4f}"])


def _optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for parameter in model.parameters():
        inside = parameter.ndim == 2 and id(parameter) not in tables
        (matrices if inside else others).append(parameter)
    muon = torch.optim.Muon(
        matrices,
        lr=plan.learning_rate,
        weight_decay=plan.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adam = torch.optim.AdamW(others, lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay)
    return [muon, adam]


def _save(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    losses: list[float],
    seconds: float,
) -> None:
    """Written beside and moved into place, so that a cut-off save loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "losses": losses,
            "seconds": seconds,
        },
        fresh,
    )
    fresh.replace(path)


def _resume(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> tuple[int, list[float], float]:
    if not path.exists():
        return 0, [], 0.0
    state = torch.load(path, map_location=device())
    model.load_state_dict(state["model"])
    for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(stored)
    return len(state["losses"]), state["losses"], state["seconds"]
