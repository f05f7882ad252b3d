"""The proof that what is shown is what the model did, on a model and inputs of the caller's own.

The model is run twice, once alone and once listened to: outputs must be the same bits, and the weights must give every
module's output again. Nothing may be left behind on the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import CaptureError
from attention_analyzer.hooks.forward import CapturedForward, as_written, capture_forward
from attention_analyzer.models.own_errors import named_errors
from attention_analyzer.random_state import restored_draws
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: Memory for the rows whose sums are looked at, in cells: a proof is linear in the text.
_CELLS_LOOKED_AT = 1 << 24


@dataclass(frozen=True)
class VerificationReport:
    """What was found.

    Attributes:
        identical: the outputs with and without listening are the same bits.
        untouched: the model's hooks, attributes and configuration are as they were.
        exact: all weights were recomputed from queries and keys; False where the model computed some itself.
        deviation: largest difference between a module's output and the one rebuilt from weights and values, relative
            to the largest output.
        row_error: how far a row's sum is from one, in some rows of every head, where no sink takes a share.
        backends: attention implementations that ran.
        forms: what is special about the attention: "grouped queries", "sliding window", "sinks", "softcap" …
        sites: every site.
        not_captured: attention modules that ran without weights over keys (linear, deformable … attention).
        doors: how many calls were captured in which way; see :mod:`.doors`.
    """

    identical: bool
    untouched: bool
    exact: bool
    deviation: float
    row_error: float
    backends: tuple[str, ...]
    forms: tuple[str, ...]
    sites: tuple[Site, ...]
    not_captured: tuple[str, ...]
    doors: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the weights shown are the model's own. (Deviations beyond tolerance are raised, not returned.)"""
        return self.identical and self.untouched


def verify_model(model: nn.Module, inputs: Mapping[str, Any], *, valid: Tensor | None = None) -> VerificationReport:
    """Run the proof.

    Args:
        model: any model of the library.
        inputs: keyword arguments of its forward.
        valid: bool ``[batch, token]``, False for padding.

    Raises:
        UnsupportedModelError: the model has no attention that can be had as ``[head, query, key]``.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    plain = run_alone(model, inputs)
    before = _state(model)  # after a forward: the library itself may hook a model at its first one
    captured = _captured_alike(model, inputs, valid)
    return VerificationReport(
        identical=same_bits(plain, captured.outputs),
        untouched=_state(model) == before,
        exact=captured.exact,
        deviation=captured.deviation,
        row_error=max((row_error(weights, valid) for _, weights in captured.sites), default=0.0),
        backends=_backends(model),
        forms=tuple(dict.fromkeys(form for _, weights in captured.sites for form in forms(weights))),
        sites=tuple(site for site, _ in captured.sites),
        not_captured=captured.not_captured,
        doors=captured.doors,
    )


def run_alone(model: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """The model's outputs without anybody listening; models that draw random numbers draw the same ones each time."""
    with named_errors(model, inputs), as_written(model), torch.no_grad(), restored_draws(seed=0):
        return model(**inputs)


def _captured_alike(
    model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None
) -> CapturedForward[AttentionWeights]:
    with restored_draws(seed=0):
        return capture_forward(model, inputs, valid=valid)


def same_bits(left: Any, right: Any) -> bool:
    """Whether two outputs hold the same tensors, bit by bit (NaN equals NaN)."""
    mine, theirs = list(tensors(left)), list(tensors(right))
    return len(mine) == len(theirs) and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25)))
        if a.is_floating_point()
        else torch.equal(a, b)
        for a, b in zip(mine, theirs, strict=True)
    )


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors within an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors(value)


def row_error(weights: AttentionWeights, valid: Tensor | None = None) -> float:
    """Largest distance of a row's sum from one, in some rows that see something and are no padding.

    Raises:
        CaptureError: a row exceeds one, or a weight is negative or NaN.
    """
    worst = 0.0
    has_sink = isinstance(weights, QueryKeyWeights) and weights.source.sinks is not None
    counts = weights.visibility.counts(weights.empty().device).amin(1).expand(weights.batch, -1)
    for text in range(weights.batch):
        good = counts[text] > 0
        if valid is not None and valid.shape == (weights.batch, weights.queries):
            good = good & valid[text].to(good.device)
        rows = some_rows(good, weights)
        if not rows:
            continue
        tile = rows_of(weights, text, rows)
        sums = tile.sum(-1)
        if not bool(torch.isfinite(tile).all()) or float(tile.min()) < 0 or float(sums.max()) > 1 + 1e-2:
            raise CaptureError(
                "A captured row holds a weight that is negative or not finite, or sums to more than one."
            )
        if not has_sink:
            worst = max(worst, float((sums - 1).abs().max()))
    return worst


def some_rows(good: Tensor, weights: AttentionWeights) -> list[int]:
    """Some of the rows that ``good`` names, spread over the text: all of a short one, fewer the longer it is."""
    rows = good.nonzero()[:, 0]
    most = max(4, _CELLS_LOOKED_AT // (weights.heads * weights.keys))
    spread = torch.linspace(0, len(rows) - 1, min(most, len(rows))).long()
    return rows[spread.to(rows.device)].tolist()


def rows_of(weights: AttentionWeights, text: int, rows: list[int]) -> Tensor:
    """``[head, row, key]`` of the given rows in ascending order; neighbors are computed together."""
    starts = [row for before, row in zip([-2, *rows], rows, strict=False) if row != before + 1]
    stops = [row + 1 for row, after in zip(rows, [*rows[1:], -2], strict=True) if after != row + 1]
    heads = slice(0, weights.heads)
    runs = [weights.tile(text, heads, slice(start, stop)) for start, stop in zip(starts, stops, strict=True)]
    return torch.cat(runs, dim=1)


def forms(weights: AttentionWeights) -> tuple[str, ...]:
    """What is special about one site's attention."""
    if not isinstance(weights, QueryKeyWeights):
        return ("computed by the model",)
    source = weights.source
    told = {
        "grouped queries": source.key.shape[1] < source.heads,
        "sliding window": weights.visibility.lower is not None,
        "causal": _is_causal(weights.visibility),
        "separate segments": weights.visibility.segments is not None,
        "irregular mask": weights.visibility.mask is not None,
        "sinks": source.sinks is not None,
        "softcap": source.softcap is not None,
        "bias": source.bias is not None,
        "unusual scaling": _scaled_unusually(source),
    }
    return tuple(form for form, present in told.items() if present)


def _is_causal(seen: Visibility) -> bool:
    """Whether nothing ahead is seen; a window may reach ahead, too (ModernBERT)."""
    return seen.upper is not None and seen.upper <= max(seen.keys - seen.queries, 0)


def _scaled_unusually(source: ScoreSource) -> bool:
    usual = source.query.shape[-1] ** -0.5
    return abs(source.scaling - usual) > 1e-3 * usual


def _backends(model: nn.Module) -> tuple[str, ...]:
    found = (getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules())
    return tuple(dict.fromkeys(str(name or "eager") for name in found if name is not None))


def _state(model: nn.Module) -> list[tuple[Any, ...]]:
    """Everything that listening could have left on a model: hooks, attributes, the attention implementation."""
    return [
        (
            name,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            tuple(sorted(set(vars(module)))),
            getattr(getattr(module, "config", None), "_attn_implementation", None),
        )
        for name, module in model.named_modules()
    ]
