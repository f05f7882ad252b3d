"""From queries and keys to finished rows of attention weights, a block at a time.

One formula serves every family and backend: ``scores = scale · q kᵀ``, softcapped if the model does so, plus its bias,
cut to what is visible; ``weights = softmax(scores)`` with a sink's share left out where the model has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_analyzer.weights.bias import Bias
from attention_analyzer.weights.block import Block, block_plan
from attention_analyzer.weights.visibility import Visibility

#: Stands for "hidden" in the scores: finite, so that ``0 · score`` stays 0, and far below any real score.
HIDDEN = -1e30


@dataclass(frozen=True)
class ScoreSource:
    """Everything one attention call needs to give its weights again. The tensors are never written to.

    Attributes:
        query: ``[batch, head, query, channel]``; ``key``: ``[batch, key head, key, channel]``, heads in groups (GQA).
        scaling: the factor on the products; ``softcap``: ``c`` in ``c · tanh(score / c)``.
        bias: added after the softcap.
        sinks: one extra score a row, whose weight is dropped: ``[head]``, or ``[batch, head, query]``.
        visibility: which keys each query sees.
    """

    query: Tensor
    key: Tensor
    scaling: float
    visibility: Visibility
    softcap: float | None = None
    bias: Bias | None = None
    sinks: Tensor | None = None

    @property
    def batch(self) -> int:
        return self.query.shape[0]

    @property
    def heads(self) -> int:
        return self.query.shape[1]

    @property
    def queries(self) -> int:
        return self.query.shape[2]

    @property
    def keys(self) -> int:
        return self.key.shape[2]

    @property
    def device(self) -> torch.device:
        return self.query.device

    def select(self, batch: int, queries: slice, keys: slice) -> ScoreSource:
        """One batch row as a batch of one, cut to runs of queries and keys."""
        return replace(
            self,
            query=self.query[batch : batch + 1, :, queries],
            key=self.key[batch : batch + 1, :, keys],
            visibility=self.visibility.select(batch, queries, keys),
            bias=None if self.bias is None else self.bias.select(batch, queries, keys),
            sinks=self.sinks if self.sinks is None or self.sinks.dim() == 1 else self.sinks[batch, None, :, queries],
        )

    def of_rows(self, order: Tensor) -> ScoreSource:
        """Other batch rows, in this order; a row may come more than once."""
        at = order.to(self.device)
        return replace(
            self,
            query=self.query.index_select(0, at),
            key=self.key.index_select(0, at),
            visibility=self.visibility.of_rows(order),
            bias=None if self.bias is None else self.bias.of_rows(order),
            sinks=self.sinks if self.sinks is None or self.sinks.dim() == 1 else self.sinks.index_select(0, at),
        )

    def to(self, device: torch.device | str) -> ScoreSource:
        return replace(
            self,
            query=self.query.to(device),
            key=self.key.to(device),
            visibility=self.visibility.to(device),
            bias=None if self.bias is None else self.bias.to(device),
            sinks=None if self.sinks is None else self.sinks.to(device),
        )

    def scores(self, batch: int, heads: slice, rows: slice) -> Tensor:
        """Softcapped scores with their bias, of visible and hidden cells alike: ``[head, row, key]`` over all keys."""
        group = self.heads // self.key.shape[1]
        dtype = working_dtype(self.query)
        if group == 1:
            keys = self.key[batch, heads].to(dtype)
        else:
            key_heads = slice(heads.start // group, (heads.stop - 1) // group + 1)
            keys = self.key[batch, key_heads].to(dtype).repeat_interleave(group, dim=0)
            keys = keys[heads.start - key_heads.start * group :][: heads.stop - heads.start]
        scores = self.query[batch, heads, rows].to(dtype) @ keys.transpose(-1, -2) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if self.bias is not None:
            scores = scores + self.bias.tile(batch, heads, rows, slice(0, self.keys))
        return scores

    def tile(self, batch: int, heads: slice, rows: slice) -> Tensor:
        """Finished weights of some rows of one batch row: float32 (or float64) ``[head, row, key]`` over all keys."""
        scores = self.scores(batch, heads, rows)
        hidden = self._hidden(batch, heads, rows, slice(0, self.keys))
        if hidden is not None:
            scores = scores.masked_fill(hidden, HIDDEN)
        weights = torch.softmax(scores, dim=-1)
        if self.sinks is not None:
            flat = slice(batch * self.heads + heads.start, batch * self.heads + heads.stop)
            sinks = self._sink_scores(flat, rows).to(scores.dtype)
            weights *= torch.sigmoid(scores.logsumexp(-1) - sinks)[..., None]
        return weights if hidden is None else weights.masked_fill(hidden, 0)

    def blocks(self) -> Iterator[Block]:
        """All finished rows, block by block; the buffers are reused, so a block is only good until the next one.

        The weights of rows that see no key are zero.
        """
        dtype = working_dtype(self.query)
        key_heads = self.key.shape[1]
        group = self.heads // key_heads
        # One flat axis of (batch row, key head); GQA folds a group's queries into the rows, so keys are never repeated.
        query = self.query.reshape(self.batch * key_heads, group, self.queries, -1)
        key = self.key.to(dtype).contiguous().view(self.batch * key_heads, self.keys, -1).transpose(1, 2)
        plan = block_plan(
            outer=self.batch * key_heads,
            group=group,
            rows=self.queries,
            visible_keys=self.visibility.key_range,
            boundary=key_heads if self._one_text_at_a_time else None,
            device=self.device,
        )
        score_buffer = torch.empty(plan.capacity, dtype=dtype, device=self.device)
        weight_buffer = torch.empty(plan.capacity, dtype=dtype, device=self.device)
        for outer, rows in plan:
            keys = self.visibility.key_range(rows)
            shape = (outer.stop - outer.start, group * (rows.stop - rows.start), keys.stop - keys.start)
            size = shape[0] * shape[1] * shape[2]
            scores, weights = score_buffer[:size].view(shape), weight_buffer[:size].view(shape)
            block_query = query[outer, :, rows].to(dtype).reshape(shape[0], shape[1], -1)
            torch.baddbmm(scores, block_query, key[outer, :, keys], beta=0, alpha=self.scaling, out=scores)
            yield self._finish_block(scores, weights, outer, rows, keys, key_heads, group)

    def _finish_block(
        self, scores: Tensor, weights: Tensor, outer: slice, rows: slice, keys: slice, key_heads: int, group: int
    ) -> Block:
        """Softcap, bias, mask, softmax and sinks for one block of raw scores, in place."""
        height = rows.stop - rows.start
        flat = slice(outer.start * group, outer.stop * group)
        scores = scores.view(-1, height, keys.stop - keys.start)
        weights = weights.view_as(scores)
        first_text = outer.start // key_heads
        hidden_from = self.visibility.seen_by_all(rows, keys)
        if self.softcap is not None:
            scores.div_(self.softcap).tanh_().mul_(self.softcap)
        if self._one_text_at_a_time:
            heads = slice(flat.start - first_text * self.heads, flat.stop - first_text * self.heads)
            if self.bias is not None:
                scores += self.bias.tile(first_text, heads, rows, keys)
            hidden = self._hidden(first_text, heads, rows, slice(keys.start + hidden_from, keys.stop))
        else:
            hidden = self._hidden_of_texts(flat, rows, slice(keys.start + hidden_from, keys.stop))
        if hidden is not None:
            scores[..., hidden_from:].masked_fill_(hidden, HIDDEN)
        torch.softmax(scores, dim=-1, out=weights)
        highest, largest = scores.amax(-1), weights.amax(-1)
        log_sum = highest - largest.log()
        total = None
        if self.sinks is not None:
            sinks = self._sink_scores(flat, rows).to(weights.dtype)
            total = torch.sigmoid(log_sum - sinks)
            weights *= total[..., None]
            largest = largest * total
            log_sum = torch.logaddexp(log_sum, sinks)
        if hidden is not None:
            blind = highest <= HIDDEN / 2
            if bool(blind.any()):
                weights.masked_fill_(blind[..., None], 0)
                largest = largest.masked_fill(blind, 0)
                log_sum = log_sum.masked_fill(blind, 0)
                total = (~blind).to(weights.dtype) if total is None else total.masked_fill(blind, 0)
        return Block(
            weights=weights,
            scores=scores,
            log_sum=log_sum,
            largest=largest,
            hidden=hidden,
            heads=flat,
            rows=rows,
            keys=keys,
            hidden_from=hidden_from,
            total=total,
        )

    @property
    def _one_text_at_a_time(self) -> bool:
        """Whether masks or biases differ so much between texts or heads that a block may hold only one text."""
        visibility = self.visibility
        by_text = visibility.mask is not None and visibility.mask.shape[0] > 1
        return self.bias is not None or visibility.segments is not None or visibility.differs_by_head or by_text

    def _sink_scores(self, flat: slice, rows: slice) -> Tensor:
        """``[flat head, row or 1]``."""
        if self.sinks is None:
            raise ValueError("there are no sinks")
        if self.sinks.dim() == 1:
            return self.sinks.repeat(self.batch)[flat, None]
        return self.sinks.reshape(-1, self.queries)[flat, rows]

    def _hidden(self, text: int, heads: slice, rows: slice, keys: slice) -> Tensor | None:
        """Hidden cells of one text: bool ``[head or 1, row, key]``."""
        seen = self.visibility.seen(rows, keys, slice(text, text + 1), self.device)
        if seen is None:
            return None
        return ~(seen[0, heads] if seen.shape[1] > 1 else seen[0])

    def _hidden_of_texts(self, flat: slice, rows: slice, keys: slice) -> Tensor | None:
        """Hidden cells where heads do not differ: bool ``[flat head or 1, row, key]``."""
        seen = self.visibility.seen(rows, keys, slice(None), self.device)
        if seen is None:
            return None
        hidden = ~seen[:, 0]
        if hidden.shape[0] == 1:
            return hidden
        text_of_head = torch.arange(flat.start, flat.stop, device=self.device) // self.heads
        return hidden[text_of_head]


def working_dtype(tensor: Tensor) -> torch.dtype:
    """Sums run in float32, or in float64 where the model does."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
