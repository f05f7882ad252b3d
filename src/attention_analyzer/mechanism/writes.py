"""The OV circuit of a head on a text: which tokens it promotes for every token that it could read.

What a head writes for a source token is its value through the output projection (Elhage et al. 2021). With norms held
at their values, that vector moves all logits by a linear map, the Jacobian of the logits with respect to the head's
output along the direct path; it is the map whose rows :func:`.effects.effects` uses for a single token. Logits are
compared within the vocabulary, so the mean over it is subtracted.

Copying: the fraction of the vocabulary that a source token's own token is promoted above, against the same fraction of
the text's other tokens. A head that promotes the text's tokens whatever it reads copies nothing, and scores 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import prepare
from attention_analyzer.mechanism.effects import check_finite
from attention_analyzer.mechanism.naming import PartNames
from attention_analyzer.mechanism.target import choose_target, last_logits, logits_of, row_of, token_name
from attention_analyzer.mechanism.trace import TracedCall, call_of, trace
from attention_analyzer.mechanism.writes_result import HeadWrites
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Kind, from_end
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.tokenization import Pair

#: Channels of a head whose logits are computed at once.
_AT_ONCE = 16


def writes(
    loaded: LoadedModel,
    text: str | Pair,
    layer: int,
    head: int,
    *,
    position: int | None = None,
    top: int = 5,
    stack: str | None = None,
    kind: Kind = "self",
    truncate: bool = False,
) -> HeadWrites:
    """The tokens that a head promotes directly for every token of a text, if it reads that token alone.

    Args:
        text: a text or a pair.
        layer, head: which head, counted from zero.
        position: where the prediction is read: by default at the last token, or at the mask.
        top: how many promoted and suppressed tokens are named.
        stack, kind: of the head's attention where layers are not unique.
        truncate: cut what the model has no positions for, instead of refusing it.

    Raises:
        SelectionError: there is no such head or position.
        UnsupportedModelError: the model has no language-model head, or the head has no direct path to it.
    """
    prepared = prepare(loaded, [text], truncate=truncate)
    run = trace(loaded, prepared.inputs | last_logits(loaded, position))
    logits = logits_of(loaded, run.outputs)
    at = choose_target(loaded, prepared, logits, position=position).position
    check_finite(loaded, row_of(logits, at).sum())
    call = call_of(run, layer, head, stack, kind)
    head = from_end(head, call.heads)
    assert call.site is not None and call.weights is not None
    name = PartNames(loaded, run.calls).head(call.site, head)
    by_channel = logits_by_channel(row_of(logits, at), call, at, head)
    if by_channel is None:
        raise UnsupportedModelError(
            f"{name} has no direct path to the logits at {at}: what it writes reaches them through other heads alone."
        )
    keys = prepared.axes(call.site.stack, call.site.kind)[1][0]
    value = call.value[head // (call.heads // call.value.shape[0])].double()
    weights = call.weights.tile(0, slice(head, head + 1), slice(at, at + 1))[0, 0].double()
    rows = []
    own = np.full((len(keys), len(keys)), np.nan)
    vocabulary = by_channel.shape[1]
    ids = torch.tensor(keys.ids)
    for number, vector in enumerate(value):
        moved = vector @ by_channel
        moved -= moved.mean()
        ranks = torch.sort(moved).values
        own[number] = torch.searchsorted(ranks, moved[ids]).double().cpu().numpy() / max(vocabulary - 1, 1)
        best, worst = moved.topk(min(top, vocabulary)), moved.topk(min(top, vocabulary), largest=False)
        rows.append(
            {
                "position": number,
                "token": keys.pieces[number],
                "weight": float(weights[number]),
                "promoted": _named(loaded, best.indices),
                "promoted_by": float(best.values[0]),
                "suppressed": _named(loaded, worst.indices),
                "suppressed_by": float(worst.values[0]),
                "own": float(moved[ids[number]]),
                "own_rank": own[number, number],
            }
        )
    copying, control, interval = _copying(own, np.asarray(keys.ids), np.asarray(keys.is_special))
    return HeadWrites(
        table=pd.DataFrame(rows),
        copying=copying,
        control=control,
        interval=interval,
        head=name,
        position=at,
        tokens=keys,
        model_name=loaded.name,
    )


def logits_by_channel(row: Tensor, call: TracedCall, at: int, head: int) -> Tensor | None:
    """``∂ logits / ∂ output``, ``[channel, vocabulary]`` float64, of a head at the query ``at``; None without a path.

    The gradient is linear in what it is weighted with, so its own derivative is the Jacobian, channel by channel.
    """
    assert call.output is not None
    weighting = torch.zeros_like(row, requires_grad=True)
    if at >= call.output.shape[1]:
        return None
    found: tuple[Tensor | None, ...] = torch.autograd.grad(
        row, call.output, weighting, create_graph=True, allow_unused=True
    )
    gradient = found[0]
    if gradient is None or not gradient.requires_grad:
        return None
    mine = gradient.reshape(gradient.shape[1], call.heads, -1)[at, head]
    unit = torch.eye(len(mine), dtype=mine.dtype, device=mine.device)
    parts = [
        torch.autograd.grad(mine, weighting, chosen, is_grads_batched=True, retain_graph=True)[0]
        for chosen in unit.split(_AT_ONCE)
    ]
    return torch.cat(parts).double()


def _named(loaded: LoadedModel, numbers: Tensor) -> tuple[str, ...]:
    return tuple(token_name(loaded, number) for number in numbers.tolist())


def _copying(own: np.ndarray, ids: np.ndarray, special: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """Mean rank of a source token's own token, of the text's other tokens, and the interval of the difference.

    Args:
        own: ``[source, token]``, the rank of every token of the text where the head reads the source.
    """
    plain = np.flatnonzero(~special)
    grid = own[np.ix_(plain, plain)]
    same = ids[plain][:, None] == ids[plain][None, :]
    mine = np.diag(grid)
    others = np.where(same, np.nan, grid)
    known = (~same).any(1)
    if not known.any():
        nan = float("nan")
        return float(mine.mean()) if len(mine) else nan, nan, (nan, nan)
    means = np.nanmean(others[known], axis=1)
    low, high = bootstrap_interval((mine[known] - means)[:, None])
    return float(mine[known].mean()), float(means.mean()), (float(low[0]), float(high[0]))
