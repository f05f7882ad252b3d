"""From a backend's mask to one description of which keys a query sees.

Each backend takes its mask in its own form: sdpa a boolean one (or None and a causal flag), eager an additive one,
flash a row of padding flags and a window, flex a block mask. All of them become a :class:`Visibility` and, where an
additive mask holds more than "hidden", a bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import Option, UnsupportedModelError
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.weights.additive import read_additive
from attention_analyzer.weights.bias import Bias, DenseBias, as_bias
from attention_analyzer.weights.scores import working_dtype
from attention_analyzer.weights.visibility import Visibility, visibility_of


@dataclass(frozen=True)
class ReadMask:
    """What a call's mask and bias say.

    Attributes:
        bias: what is added to the scores of visible cells.
        lowest: of rows that hold nothing but low finite numbers; see :class:`.additive.AdditiveMask`.
        added_in: the dtype in which the model adds its mask.
    """

    visibility: Visibility
    bias: Bias | None
    lowest: Tensor | None = None
    added_in: torch.dtype = torch.float32


@dataclass
class MaskReader:
    """Reads the masks of one forward; a mask that several layers share is read once.

    Attributes:
        valid: bool ``[batch, query]`` of the main text; rows of padding are read as nothing hides or shows in them.
    """

    valid: Tensor | None = None
    _known: dict[tuple[Any, ...], tuple[Tensor, Any]] = field(default_factory=dict)
    _bands: dict[tuple[int, int, int | None], Visibility] = field(default_factory=dict)

    def read(self, call: AttentionCall, *, has_sinks: bool = False) -> ReadMask:
        """The mask and bias of a call.

        Args:
            has_sinks: whether a sink takes the weight of rows in which every key has a low number.

        Raises:
            UnsupportedModelError: the mask has a form that is not understood.
        """
        queries, keys = call.query.shape[2], call.key.shape[2]
        bias = call.options.get("position_bias")
        biases = []
        if bias is not None and (read := self._remember(bias, "bias", lambda: _read_bias(bias.detach()))):
            biases.append(read)
        lowest, added_in = None, working_dtype(call.query)  # fused functions add in float32, whatever the mask is in
        if "flash" in call.backend:
            visibility = _flash_visibility(call)
        elif call.mask is None:
            band = queries, keys, 0 if _is_causal_by_flag(call) else None
            visibility = self._bands.setdefault(band, Visibility(queries, keys, upper=band[-1]))
        else:
            mask = _dense_mask(call)
            added = call.backend == "eager" or (call.backend == "flex_attention" and mask is call.mask)
            if added and mask.dtype == torch.bool:
                # A mask that is added is added whatever it is: True adds one and False hides nothing.
                mask = mask.to(call.query.dtype)
            if added and call.backend == "flex_attention" and mask.dim() == 4:
                mask = mask[:, :1]  # the library's flex attention adds the first head's mask to all
            counted = self._counted(queries)
            visibility, mask_bias, lowest = self._remember(
                mask, (queries, keys, has_sinks), lambda: _read_dense(mask.detach(), queries, keys, counted, has_sinks)
            )
            if added:
                added_in = torch.promote_types(mask.dtype, call.query.dtype)
            if mask_bias is not None:
                biases.append(mask_bias)
        return ReadMask(visibility, _sum(biases), lowest, added_in)

    def _counted(self, queries: int) -> Tensor | None:
        """bool ``[batch, 1, query, 1]``: queries that are no padding, where that is known."""
        if self.valid is None or self.valid.shape[1] != queries:
            return None
        return self.valid[:, None, :, None]

    def _remember(self, tensor: Tensor, purpose: Any, read: Any) -> Any:
        # Under inference mode nobody counts changes, so contents are compared.
        counted = not tensor.is_inference()
        version = tensor._version if counted else None
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, version, purpose)
        known = self._known.get(key)
        if known is None or not (counted or torch.equal(known[0], tensor)):
            # Holding the tensor keeps its address from being given to another one.
            known = self._known[key] = (tensor if counted else tensor.clone(), read())
        return known[1]


def _is_causal_by_flag(call: AttentionCall) -> bool:
    """Whether a backend without a mask applies causality itself; eager and flex never do."""
    if call.backend != "sdpa" or call.query.shape[2] <= 1:
        return False
    flag = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if flag is None else flag)


def _flash_visibility(call: AttentionCall) -> Visibility:
    queries, keys = call.query.shape[2], call.key.shape[2]
    flag = call.options.get("is_causal")
    causal = bool(getattr(call.module, "is_causal", True) if flag is None else flag)
    window = call.options.get("sliding_window")
    shift = keys - queries
    upper = shift if causal and queries > 1 else None
    lower = None
    if window is not None and keys > window:
        lower = shift - (window - 1)
        upper = upper if causal else shift + window - 1
    key_seen = None
    if isinstance(call.mask, Tensor):
        if call.mask.dim() != 2:
            raise UnsupportedModelError(
                f"Under {call.backend} a mask of padding flags [batch, key] was expected, but its shape is "
                f"{tuple(call.mask.shape)}",
                [Option("attn_implementation", "'eager'", "load the model with {}")],
            )
        key_seen = call.mask[:, -keys:].bool()
        key_seen = None if bool(key_seen.all()) else key_seen
    segments = None
    boundaries = call.options.get("cu_seq_lens_q")
    if boundaries is not None:
        of_query = _segment_numbers(boundaries, queries)
        of_key = _segment_numbers(call.options.get("cu_seq_lens_k", boundaries), keys)
        segments = (of_query[None], of_key[None])
    return Visibility(queries, keys, lower=lower, upper=upper, key_seen=key_seen, segments=segments)


def _segment_numbers(boundaries: Tensor, length: int) -> Tensor:
    positions = torch.arange(length, device=boundaries.device)
    return torch.bucketize(positions, boundaries[1:].to(positions.dtype), right=True)


def _dense_mask(call: AttentionCall) -> Tensor:
    mask = call.mask
    if isinstance(mask, Tensor):
        return mask
    if hasattr(mask, "mask_mod"):  # flex attention's BlockMask
        from torch.nn.attention.flex_attention import create_mask

        batch, _, queries, _ = call.query.shape
        return create_mask(mask.mask_mod, batch, 1, queries, call.key.shape[2], device=str(call.query.device))
    raise UnsupportedModelError(
        f"The attention mask of {call.name} is a {type(mask).__name__}, which is not understood",
        [Option("attn_implementation", "'eager'", "load the model with {}")],
    )


def _four_axes(mask: Tensor) -> Tensor:
    if mask.dim() == 4:
        return mask
    if mask.dim() == 3:
        return mask[:, None]
    if mask.dim() == 2:
        return mask[None, None]
    raise UnsupportedModelError(f"An attention mask with {mask.dim()} axes, {tuple(mask.shape)}, is not understood.")


def _read_bias(values: Tensor) -> Bias | None:
    return as_bias(_four_axes(values)) if bool(values.any()) else None


def _read_dense(
    mask: Tensor, queries: int, keys: int, counted: Tensor | None, has_sinks: bool
) -> tuple[Visibility, Bias | None, Tensor | None]:
    """Read a boolean (True = sees) or additive mask that broadcasts to ``[batch, head, query, key]``."""
    mask = _four_axes(mask)
    if mask.shape[-1] != 1:
        mask = mask[..., :keys]
    if mask.dtype == torch.bool:
        return visibility_of(mask, queries, keys), None, None
    if has_sinks:
        counted = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=mask.device)
    elif counted is not None:
        fits = mask.shape[0] in (1, len(counted))
        counted = counted.to(mask.device) if fits else None
    read = read_additive(mask, counted=counted)
    bias = as_bias(read.extra.expand(-1, -1, queries, keys)) if bool(read.extra.any()) else None
    return visibility_of(read.seen, queries, keys), bias, read.lowest


def _sum(biases: list[Bias]) -> Bias | None:
    if len(biases) < 2:
        return biases[0] if biases else None
    return DenseBias(biases[0].dense() + biases[1].dense())
