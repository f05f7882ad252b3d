"""What every head writes when it reads a token: values through the output projection, to the logits.

The projection is found by what it does, not by its name: it is the linear module that is given the attention's output.
A family that changes the output first (a gate, say) has no head-by-head part that could be read, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attention_analyzer.errors import Option, UnsupportedModelError
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.module_hooks import hooks_removed
from attention_analyzer.patterns.copying import Copying, own_ranks
from attention_analyzer.patterns.measure import Strengths
from attention_analyzer.patterns.probes import plain_ids, prepared_ids, room
from attention_analyzer.patterns.streaming import Measured
from attention_analyzer.recording import run

EXAMPLES, TOKENS = 10, 64


@dataclass
class Written:
    """One attention call: values ``[text, key head, key, channel]``, its output, and the module that projects it."""

    module: nn.Module
    name: str
    value: Tensor
    output: Tensor | None = None
    projection: nn.Module | None = None


@dataclass
class _Listener:
    """What one forward of this thread does; other threads may run the model, too."""

    thread: int = field(default_factory=get_ident)
    calls: list[Written] = field(default_factory=list)
    last_hidden: Tensor | None = None
    produced: list[tuple[nn.Module, Tensor]] = field(default_factory=list)

    def before(self, call: AttentionCall) -> AttentionCall:
        self.calls.append(Written(call.module, call.name, call.value.detach()))
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        self.calls[-1].output = output.detach()
        return output

    def given(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A linear module is about to run: is it given the last attention's output?"""
        if get_ident() != self.thread or not self.calls or not inputs or not isinstance(inputs[0], Tensor):
            return
        call = self.calls[-1]
        if call.output is None or call.projection is not None or inputs[0].numel() != call.output.numel():
            return
        if torch.equal(inputs[0].reshape(-1), call.output.reshape(-1)):
            call.projection = module

    def made(self, module: nn.Module, _: Any, output: Any) -> None:
        if get_ident() == self.thread and isinstance(output, Tensor) and not list(module.children()):
            self.produced = [*self.produced[-3:], (module, output)]

    def unembedded(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if get_ident() == self.thread:
            self.last_hidden = inputs[0]


def measure_copying(
    loaded: LoadedModel, examples: int = EXAMPLES, tokens: int = TOKENS, seed: int = 0
) -> list[Measured]:
    """How strongly every head copies what it reads, ``[1, text, head]`` per site, on random tokens that differ.

    Values are the model's own, with all that earlier layers put into the stream; normalizations after the projection,
    but the last before the logits, are left out.

    Raises:
        UnsupportedModelError: the model is no decoder with an output over its vocabulary, or has heads whose output
            cannot be read one by one.
    """
    unembedding = _unembedding(loaded)
    draw = np.random.default_rng(seed)
    vocabulary = plain_ids(loaded)
    size = min(tokens, room(loaded), len(vocabulary))
    prepared = prepared_ids(loaded, [draw.choice(vocabulary, size, replace=False) for _ in range(examples)])
    with _listening(loaded.model, unembedding) as listener:
        numbers = run(loaded, prepared, keep=lambda place, _: _number(listener, place)).sites
    after = _last_norm(listener)
    return [
        Measured(site, _strengths(listener.calls[number], after, _weight(unembedding), prepared, size), prepared.source)
        for site, number in numbers
    ]


def _unembedding(loaded: LoadedModel) -> nn.Module:
    found = loaded.model.get_output_embeddings() if hasattr(loaded.model, "get_output_embeddings") else None  # type: ignore[operator]
    if loaded.architecture != "decoder" or not isinstance(getattr(found, "weight", None), Tensor):
        raise UnsupportedModelError(
            f"Copying is measured at the logits of a decoder, but {type(loaded.model).__name__} has none",
            [Option("model_class", "'AutoModelForCausalLM'", "load it with its language-model head: {}")],
        )
    assert isinstance(found, nn.Module)
    return found


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def _number(listener: _Listener, place: CallSite) -> int:
    if not listener.calls or listener.calls[-1].module is not place.module:
        raise UnsupportedModelError(f"The values of {place.path} are not available: it uses custom attention code.")
    return len(listener.calls) - 1


@contextmanager
def _listening(model: nn.Module, unembedding: nn.Module) -> Iterator[_Listener]:
    listener = _Listener()
    with hooks_removed() as handles:
        handles.append(unembedding.register_forward_pre_hook(listener.unembedded))
        for module in model.modules():
            if module is not unembedding:
                handles.append(module.register_forward_hook(listener.made))
                if getattr(getattr(module, "weight", None), "ndim", 0) == 2:
                    handles.append(module.register_forward_pre_hook(listener.given))
        with hook_attention(model, listener):
            yield listener


def _last_norm(listener: _Listener) -> nn.Module | None:
    """The module whose output the logits are made of; None where that is the stream itself."""
    hidden = listener.last_hidden
    for module, output in reversed(listener.produced):
        if hidden is not None and output.shape == hidden.shape and output.data_ptr() == hidden.data_ptr():
            return module
    return None


def _strengths(call: Written, after: nn.Module | None, unembedding: Tensor, prepared: Prepared, size: int) -> Strengths:
    parts = _by_head(call)
    group = len(parts) // call.value.shape[1]
    ids = prepared.inputs["input_ids"]
    ranks = []
    with torch.no_grad():
        for row, tokens in enumerate(prepared.source):
            first = tokens.is_special.index(False)
            places = slice(first, first + size)
            candidates = unembedding[ids[row, places]].float()
            written = torch.stack(
                [call.value[row, head // group, places].float() @ part for head, part in enumerate(parts)]
            )
            if written.shape[-1] != candidates.shape[-1]:
                raise UnsupportedModelError(
                    f"{call.name} writes {written.shape[-1]} channels, but logits are made of {candidates.shape[-1]}; "
                    "its copying cannot be read."
                )
            ranks.append(own_ranks(_normed(written, after, unembedding.dtype) @ candidates.T).mean(-1))
    strength = torch.stack(ranks)[None].double().cpu()
    return Strengths((Copying(),), strength, torch.full_like(strength, 0.5), torch.full_like(strength, torch.nan))


def _normed(written: Tensor, after: nn.Module | None, dtype: torch.dtype) -> Tensor:
    """Through the last normalization, without its shift: what it makes of a vector, less what of its opposite."""
    if after is None:
        return written
    # A head writes little compared with the stream; brought to its size, a norm's ε plays no part.
    scaled = (written / written.norm(dim=-1, keepdim=True).clamp(min=1e-30) * written.shape[-1] ** 0.5).to(dtype)
    return (after(scaled) - after(-scaled)).float()


def _by_head(call: Written) -> list[Tensor]:
    """The projection's part of every head, ``[channel, written]``."""
    if call.projection is None or call.output is None:
        raise UnsupportedModelError(
            f"The output projection of {call.name} was not found: its attention's output is changed before it is "
            "projected, so its per-head output cannot be isolated."
        )
    weight = _weight(call.projection).float()
    # A Conv1D (GPT-2) keeps its weight the other way round.
    weight = weight if type(call.projection).__name__ == "Conv1D" else weight.T
    return list(weight.split(call.output.shape[-1]))
