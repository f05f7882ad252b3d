"""The linear map that takes what attention wrote back into the model: found by what it is fed, not by its name.

During a forward, the module that is handed exactly the output of an attention call is the one. That it is linear in
each head's part is checked, so that what a head writes for one token can be told from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from attention_analyzer.attribution.activations import CallActivations, record_activations
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.module_hooks import hooks_removed
from attention_analyzer.site import Site

#: Tokens whose values are projected at once.
_AT_ONCE = 1024
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass
class _Watch:
    """Modules that were handed a tensor as large as an attention output, in order, with that tensor."""

    names: dict[int, str]
    fed: list[tuple[nn.Module, Tensor]] = field(default_factory=list)


@contextmanager
def _watching(model: nn.Module) -> Iterator[_Watch]:
    watch = _Watch({id(module): name for name, module in model.named_modules()})
    thread = get_ident()

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() == thread and id(module) in watch.names and len(args) == 1 and isinstance(args[0], Tensor):
            watch.fed.append((module, args[0]))

    with hooks_removed() as handles:
        handles.append(register_module_forward_pre_hook(enter))
        yield watch


def written_norms(loaded: LoadedModel, prepared: Prepared) -> list[tuple[Site, CallActivations, Tensor]]:
    """``‖f(x_j)‖`` of each site: ``[head, key]``, where ``f(x) = (x W_V + b_V) W_O`` is what a head writes for a token.

    Raises:
        UnsupportedModelError: a site's values or its output projection cannot be read.
    """
    with _watching(loaded.model) as watch:
        _, calls = record_activations(loaded, prepared)
    return [(site, heard, _norms(site, heard, watch)) for site, heard in calls]


def _norms(site: Site, heard: CallActivations, watch: _Watch) -> Tensor:
    assert heard.output is not None
    output = heard.output
    heads, channels = output.shape[2], output.shape[3]
    projection = next((module for module in _handed(output, watch) if _is_linear(module, output)), None)
    if projection is None:
        raise UnsupportedModelError(
            f"What {site.module} writes goes through no linear map that could be read apart by heads (a gate or a "
            "normalization comes first), so norm-weighted attention is not available for this model."
        )
    values = heard.values_by_head
    found = torch.empty(heads, values.shape[1])
    with torch.no_grad():
        nothing = projection(values.new_zeros(1, 1, heads * channels))
        for first in range(0, values.shape[1], _AT_ONCE):
            run = slice(first, first + _AT_ONCE)
            for head in range(heads):
                alone = values.new_zeros(1, len(values[head, run]), heads, channels)
                alone[0, :, head] = values[head, run]
                found[head, run] = (projection(alone.flatten(2)) - nothing)[0].float().norm(dim=-1).cpu()
    return found


def _handed(output: Tensor, watch: _Watch) -> Iterator[nn.Module]:
    """The modules that were handed this output as it is, in order."""
    flat = output.flatten()
    for module, given in watch.fed:
        if given.numel() == flat.numel() and given.shape[-1] == output.shape[2] * output.shape[3]:
            same = given.data_ptr() == output.data_ptr() or torch.equal(given.flatten(), flat)
            if same and any(True for _ in module.parameters()):
                yield module


def _is_linear(module: nn.Module, output: Tensor) -> bool:
    """Whether the module's result is that of nothing plus a part for each head."""
    rows = output[:, : min(3, output.shape[1])].detach()
    with torch.no_grad():
        whole, nothing = module(rows.flatten(2)), module(torch.zeros_like(rows).flatten(2))
        if not isinstance(whole, Tensor):
            return False
        total = nothing.clone()
        for head in range(rows.shape[2]):
            alone = torch.zeros_like(rows)
            alone[:, :, head] = rows[:, :, head]
            total += module(alone.flatten(2)) - nothing
        doubled = module(2 * rows.flatten(2)) - 2 * whole + nothing
    scale = float(whole.abs().max())
    limit = _TOLERANCE.get(whole.dtype, 1e-4) * max(scale, 1e-30)
    return scale > 0 and float((total - whole).abs().max()) <= limit and float(doubled.abs().max()) <= 4 * limit
