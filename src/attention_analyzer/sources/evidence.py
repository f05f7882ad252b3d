"""What heads attend to where the question is read and the answer written: weight on each part above chance."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import accepted
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.parts.measure import sinks_of
from attention_analyzer.sources.prompt import Prompt
from attention_analyzer.weights.base import AttentionWeights

#: A head as (layer, head, queries); queries are those that predict the "answer", or the "question" before it.
HeadRows = tuple[int, int, str]
#: Cells of one site that are held at once.
_CELLS = 1 << 24


@dataclass(frozen=True)
class PartWeights:
    """What one forward shows.

    Attributes:
        heads: the heads, in the order of ``above_chance``.
        above_chance: each head's weight on each candidate above chance, ``[head, candidate]``.
        log_probability: of the answer, in nats, summed over its tokens.
    """

    heads: list[HeadRows]
    above_chance: np.ndarray
    log_probability: float


def attention_to_parts(loaded: LoadedModel, prompt: Prompt) -> PartWeights:
    """Each head's weight on each candidate above chance, and the answer's log-probability, from one forward.

    Means over the queries that predict the answer's tokens, and over those between the last candidate and the answer
    (the question): many models look an answer up while they read the question. Special tokens and the
    first one are left out as keys and the rest of each row renormalized; chance is the candidate's share of the other
    visible keys.

    Raises:
        UnsupportedModelError: the model has no attention over the tokens of the text.
    """
    ids = torch.tensor([[*prompt.tokens.ids, *prompt.answer_ids]])[:, :-1]
    size = ids.shape[1]
    answer = slice(size - len(prompt.answer_ids), size)
    asked = prompt.run_of(len(prompt.candidates) - 1).stop
    runs = {"answer": answer} | ({"question": slice(asked, answer.start)} if asked < answer.start else {})
    members = torch.zeros(size, len(prompt.candidates), dtype=torch.float64)
    sinks = torch.zeros(size, dtype=torch.bool)
    sinks[: len(prompt.tokens)] = sinks_of(prompt.tokens)
    for number in range(len(prompt.candidates)):
        run = prompt.run_of(number)
        members[run.start : run.stop, number] = 1
    members[sinks] = 0

    def keep(_: CallSite, weights: AttentionWeights) -> list[Tensor] | None:
        if weights.shape[1:] != (size, size):
            return None
        return [_mean_above_chance(weights, run, sinks, members) for run in runs.values()]

    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "logits_to_keep" in inspect.signature(loaded.model.forward).parameters:
        inputs["logits_to_keep"] = len(prompt.answer_ids)
    with loaded.evaluating() as model:
        forward = capture_forward(model, loaded.to_device(accepted(model, inputs)), valid=None, keep=keep)
    found = [(site, part) for site, part in forward.sites if part is not None]
    if not found:
        raise UnsupportedModelError(f"{loaded.name} has no attention over the tokens of the text alone.")
    heads = [
        (site.layer, head, name)
        for site, parts in found
        for name, part in zip(runs, parts, strict=True)
        for head in range(len(part))
    ]
    above = torch.cat([part for _, parts in found for part in parts]).numpy()
    return PartWeights(heads, above, prompt.answer_score(forward.outputs.logits))


def _mean_above_chance(weights: AttentionWeights, rows: slice, sinks: Tensor, members: Tensor) -> Tensor:
    """``[head, candidate]``, the mean over a run of queries."""
    size = len(sinks)
    total = torch.zeros(weights.heads, members.shape[1], dtype=torch.float64)
    step = max(1, _CELLS // (size * weights.heads))
    for start in range(rows.start, rows.stop, step):
        run = slice(start, min(start + step, rows.stop))
        tile = weights.tile(0, slice(0, weights.heads), run).cpu().double()
        seen = weights.visibility.seen(run, slice(0, size), slice(0, 1), torch.device("cpu"))
        visible = torch.ones(1, 1, size, dtype=torch.float64) if seen is None else seen[0].double()
        total += _above_chance(tile, sinks, members, visible).sum(1)
    return total / (rows.stop - rows.start)


def _above_chance(tile: Tensor, sinks: Tensor, members: Tensor, visible: Tensor) -> Tensor:
    """``[head, row, candidate]``."""
    left = tile.masked_fill(sinks, 0)
    whole = left.sum(-1, keepdim=True)
    shares = torch.where(whole > 0, left / whole.clamp(min=1e-30), 0) @ members
    kept = visible.masked_fill(sinks, 0)
    return shares - (kept / kept.sum(-1, keepdim=True).clamp(min=1)) @ members
