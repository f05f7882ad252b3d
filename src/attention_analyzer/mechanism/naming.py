"""Components by name: which part of the model each summand of the stream is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from attention_analyzer.mechanism.linear_path import Component
from attention_analyzer.mechanism.trace import TracedCall
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site

_NUMBER = re.compile(r"\.(\d+)(?:\.|$)")


class Part(NamedTuple):
    """A part of the model: ``kind`` is "head", "mlp", "embedding" or "bias"."""

    kind: str
    name: str
    stack: str = ""
    layer: int | None = None


@dataclass
class PartNames:
    """Names the parts of a model that components belong to; parts of one MLP have one name."""

    loaded: LoadedModel
    calls: list[TracedCall]

    def __post_init__(self) -> None:
        self._sites = {call.site.module: call.site for call in self.calls if call.site}
        self._several = len({(site.stack, site.kind) for site in self._sites.values()}) > 1
        self._embedding = _input_embedding(self.loaded)

    def head(self, site: Site, head: int) -> str:
        """``L2H5``, with its stack and kind in front where the model has several."""
        place = f"{site.stack}.{site.kind}." if self._several else ""
        return f"{place}L{site.layer}H{head}"

    def part(self, component: Component) -> Part:
        """The part of what is no head."""
        path = component.path
        module = self.loaded.model.get_submodule(path)
        weight = getattr(module, "weight", None)
        if component.origin == "embedding" and weight is not None and weight is self._embedding:
            return Part("embedding", "token embedding")
        number = _NUMBER.search(f".{path}")
        if number is None:
            last = path.rpartition(".")[2] or "model"
            if component.origin == "embedding":
                return Part("embedding", last.replace("_", " "))
            return Part("bias", f"{'.'.join(path.split('.')[-2:])} {'constant' if weight is None else 'bias'}".strip())
        layer = int(number[1])
        stack = max(self._sites.items(), key=lambda item: _shared(path, item[0]))[1].stack
        place = f"{stack}." if len({site.stack for site in self._sites.values()}) > 1 else ""
        if isinstance(weight, Tensor) and weight.dim() == 1:
            return Part("bias", f"{place}L{layer} norm biases", stack, layer)
        if component.origin == "constant" and any(belongs_to_attention(path, attention) for attention in self._sites):
            return Part("bias", f"{place}L{layer} attention bias", stack, layer)
        return Part("mlp", f"{place}L{layer} MLP", stack, layer)


def _input_embedding(loaded: LoadedModel) -> Tensor | None:
    """The table of token embeddings, which several modules may share."""
    find = getattr(loaded.model, "get_input_embeddings", None)
    try:
        found = find() if callable(find) else None
    except (NotImplementedError, AttributeError):
        return None
    return getattr(found, "weight", None)


def belongs_to_attention(path: str, module: str) -> bool:
    """Whether a path lies in an attention module, or in what holds nothing but it and its output projection."""
    holder = module.rpartition(".")[0]
    inside = path == module or path.startswith(f"{module}.")
    return inside or (not holder.rpartition(".")[2].isdigit() and path.startswith(f"{holder}."))


def _shared(one: str, two: str) -> int:
    """How many names two paths have in common at their start."""
    pairs = enumerate(zip(one.split("."), two.split("."), strict=False))
    return next((number for number, (left, right) in pairs if left != right), 1_000)
