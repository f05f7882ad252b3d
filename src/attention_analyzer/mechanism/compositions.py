"""Composition scores: how strongly what one head writes meets what a later head reads, from the weights alone.

Elhage et al. 2021: with ``W_QK = W_Qᵀ W_K`` and ``W_OV = W_O W_V`` of stream to stream,

    Q: ‖W_QK(2)ᵀ W_OV(1)‖ / (‖W_QK(2)‖ ‖W_OV(1)‖)      K: with W_QK(2)      V: ‖W_OV(2) W_OV(1)‖ / (‖W_OV(2)‖ ‖W_OV(1)‖)

in Frobenius norms. The maps are the model's own, as derivatives along the followed stream of a text of one token: its
rotary angle is zero, and the scale of a norm cancels. A norm's weights and its centering are part of them.

The baseline is what two heads of the same singular values score when the stream between them is turned at random
(Haar-distributed): its mean square is one over the width of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.inputs import prepare
from attention_analyzer.interventions.selection import Selector, head_name, select_heads
from attention_analyzer.mechanism.compositions_result import Compositions
from attention_analyzer.mechanism.trace import Trace, TracedCall, trace
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.site import Site

INPUTS = ("query", "key", "value")
#: Rows of a Jacobian that are computed at once.
_AT_ONCE = 64
_DRAWS = 200


def compositions(
    loaded: LoadedModel, *, into: Selector | None = None, seed: int = 0, progress: OnProgress | None = None
) -> Compositions:
    """How strongly every head's output meets the queries, keys and values of every later head of its stack.

    Args:
        into: only what this head (or the heads of this layer) reads.
        seed: of the random baselines.
        progress: called with how many layers are done and how many there are.

    Raises:
        SelectionError: there is no such head.
        UnsupportedModelError: the layers or the projections of the model cannot be followed.
    """
    run = _one_token(loaded)
    calls = [call for call in run.calls if call.site is not None and call.site.kind == "self"]
    sites = tuple(call.site for call in calls if call.site is not None)
    wanted = None if into is None else set(select_heads(into, sites))
    if wanted is not None and not any(_earlier(site, sites) for site, _ in wanted):
        raise InputError(f"{into!r} is in the first layer, so no head writes into it; name a head of a later layer.")
    heads = [_Heads.of(run, call) for call in calls]
    generator = torch.Generator().manual_seed(seed)
    rows: list[pd.DataFrame] = []
    for number, receiver in enumerate(heads):
        mine = [head for head in range(receiver.site.heads) if wanted is None or (receiver.site, head) in wanted]
        senders = [sender for sender in heads[:number] if sender.site.stack == receiver.site.stack]
        if mine and senders:
            rows += _scores(receiver, senders, mine, sites, generator)
        if progress is not None:
            progress(number + 1, len(heads))
    if not rows:
        raise UnsupportedModelError(
            f"{loaded.name or 'The model'} has no two layers of self-attention of which one could read the other."
        )
    return Compositions(pd.concat(rows, ignore_index=True), width=heads[0].width, model_name=loaded.name)


def _one_token(loaded: LoadedModel) -> Trace:
    """The trace of a text of one token, with a probe where each layer begins."""
    token = torch.tensor([[next(number for number in range(2) if number != loaded.pad_id)]])
    inputs = {"input_ids": token}
    if loaded.architecture == "encoder-decoder":
        inputs["decoder_input_ids"] = token
    return trace(loaded, prepare(loaded, [inputs]).inputs, check=False, probes=True)


def _earlier(site: Site, sites: tuple[Site, ...]) -> bool:
    return any(other.stack == site.stack and other.layer < site.layer for other in sites)


@dataclass
class _Heads:
    """The maps of one layer's heads, float64.

    Attributes:
        reads: of each input, the products of its map with itself, ``[head, channel, channel]``.
        writes: the same of what the head writes, ``W_Oᵀ W_O``.
        inputs: each input ``[head, channel]``, on the path.
    """

    site: Site
    call: TracedCall
    width: int
    reads: dict[str, Tensor]
    writes: Tensor
    inputs: dict[str, Tensor]

    @classmethod
    def of(cls, run: Trace, call: TracedCall) -> _Heads:
        site, layer = call.site, run.layer_of(call)
        assert site is not None and call.output is not None and layer.left is not None
        if call.query is None or call.key is None or call.followed_value is None:
            raise UnsupportedModelError(
                f"{site.module} computes its attention outside of transformers' attention interface, so its "
                "projections cannot be read."
            )
        found = dict(zip(INPUTS, (call.query, call.key, call.followed_value), strict=True))
        inputs = {name: _by_head(tensor, call.heads) for name, tensor in found.items()}
        reads = {}
        for name, tensor in inputs.items():
            (jacobian,) = _jacobian(tensor.flatten(), [layer.probe])
            if jacobian is None:
                raise UnsupportedModelError(f"The {name} projection of {site.module} cannot be followed.")
            by_head = jacobian.reshape(*tensor.shape, -1)
            reads[name] = by_head @ by_head.mT
        (written,) = _jacobian(layer.left.flatten(), [call.output])
        if written is None:
            raise UnsupportedModelError(f"The output projection of {site.module} cannot be followed.")
        out = written.reshape(len(written), call.heads, -1).transpose(0, 1)
        return cls(site, call, len(written), reads, out.mT @ out, inputs)

    def pattern(self, name: str, head: int) -> Tensor:
        """The squared singular values of what the head reads by: of W_QK, or of W_OV for its values."""
        other = {"query": self.reads["key"], "key": self.reads["query"], "value": self.writes}[name]
        return _spectrum(other[head], self.reads[name][head])

    def other(self, name: str, head: int) -> Tensor:
        return {"query": self.reads["key"], "key": self.reads["query"], "value": self.writes}[name][head]


def _by_head(tensor: Tensor, heads: int) -> Tensor:
    """``[head, channel]`` of a tensor ``[1, key head, 1, channel]``; heads of a group share theirs."""
    one = tensor[0, :, 0]
    return one.repeat_interleave(heads // one.shape[0], dim=0)


def _jacobian(value: Tensor, tensors: list[Tensor]) -> list[Tensor | None]:
    """``∂ value / ∂ tensor``, ``[value, cell]`` float64; None where there is no path."""
    unit = torch.eye(len(value), dtype=value.dtype, device=value.device)
    parts: list[tuple[Tensor | None, ...]] = [
        torch.autograd.grad(value, tensors, rows, is_grads_batched=True, allow_unused=True, retain_graph=True)
        for rows in unit.split(_AT_ONCE)
    ]
    columns = ([each.flatten(1).double() for each in column if each is not None] for column in zip(*parts, strict=True))
    return [torch.cat(column) if column else None for column in columns]


def _spectrum(one: Tensor, other: Tensor) -> Tensor:
    """The eigenvalues of the product of two Gram matrices: squared singular values of ``Aᵀ B``."""
    values, vectors = torch.linalg.eigh(other)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    return torch.linalg.eigvalsh(root @ one @ root).clamp(min=0)


def _scores(
    receiver: _Heads, senders: list[_Heads], mine: list[int], sites: tuple[Site, ...], generator: torch.Generator
) -> list[pd.DataFrame]:
    outputs = [sender.call.output for sender in senders if sender.call.output is not None]
    rows = []
    for name in INPUTS:
        chosen = receiver.inputs[name][mine]
        found = _jacobian(chosen.flatten(), outputs)
        reading = torch.stack([receiver.pattern(name, head) for head in mine])
        for sender, jacobian in zip(senders, found, strict=True):
            if jacobian is None:
                continue
            meets = jacobian.reshape(*chosen.shape, sender.site.heads, -1).permute(0, 2, 1, 3)
            values = sender.reads["value"]
            others = torch.stack([receiver.other(name, head) for head in mine])
            squares = torch.einsum("rij,rsjk,skl,rsil->rs", others, meets, values, meets)
            writing = torch.stack([sender.pattern("value", head) for head in range(sender.site.heads)])
            whole = (reading.sum(1)[:, None] * writing.sum(1)).clamp(min=1e-300)
            score = (squares.clamp(min=0) / whole).sqrt()
            drawn = _random(reading, writing, receiver.width, generator)
            names = [
                [head_name((each.site, at), sites) for at in numbers]
                for each, numbers in ((sender, range(sender.site.heads)), (receiver, mine))
            ]
            rows.append(
                pd.DataFrame(
                    {
                        "sender": np.tile(names[0], len(names[1])),
                        "receiver": np.repeat(names[1], len(names[0])),
                        "input": name,
                        "score": score.flatten().cpu().numpy(),
                        "baseline": drawn.mean(0).flatten().numpy(),
                        "high": drawn.quantile(0.975, dim=0).flatten().numpy(),
                    }
                )
            )
    return rows


def _random(reading: Tensor, writing: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Scores of heads with these squared singular values if the stream between them is turned at random.

    Args:
        reading: ``[receiver, rank]``; ``writing``: ``[sender, rank]``.

    Returns:
        ``[draw, receiver, sender]``.
    """
    # The corner of a random rotation: orthonormal columns, of which the first rows are kept.
    shape = (_DRAWS, width, writing.shape[1])
    if width <= 512:
        corners = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64)).Q[:, : reading.shape[1]]
    else:  # in a wide stream its cells are independent and normal, as near as this baseline needs
        corners = torch.randn(_DRAWS, reading.shape[1], shape[2], generator=generator, dtype=torch.float64) / width**0.5
    shares = [(part / part.sum(1, keepdim=True).clamp(min=1e-300)).cpu() for part in (reading, writing)]
    return torch.einsum("ri,nij,sj->nrs", shares[0], corners.square(), shares[1]).sqrt()
