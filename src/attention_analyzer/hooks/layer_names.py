"""From module paths and the order of calls to sites: which stack, self or cross, which layer.

The attention function is never told where it is. A module's path says it for nearly every family; where the path has
no layer number, or one module serves many layers (ALBERT), the order of the calls does.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import nn

from attention_analyzer.site import Kind

#: A cross-modal layer attends to itself as well.
_CROSS = re.compile(r"cross(?!_?modal)|encoder_attn|encdec", re.IGNORECASE)
#: The first word that a path shows decides; towers come before encoder and decoder, which also occur inside them.
_STACKS = (
    ("vision", re.compile(r"vision|visual|image|vit(?![a-z])|pixel", re.IGNORECASE)),
    ("audio", re.compile(r"audio|speech|acoustic", re.IGNORECASE)),
    ("qformer", re.compile(r"q_?former|perceiver|resampler", re.IGNORECASE)),
    ("decoder", re.compile(r"decoder", re.IGNORECASE)),
    ("encoder", re.compile(r"encoder", re.IGNORECASE)),
)


@dataclass(frozen=True)
class CallSite:
    """One call's place before layers are numbered.

    Attributes:
        attention: what calls of one module that are parts of one attention have in common.
        again: whether the attention is that of the call before, applied to other values.
        holder: the class of the module that the attention is a part of; some say there alone what it is (LXMERT).
        crosses: whether the forward's inputs show that queries and keys are different sequences.
    """

    module: nn.Module
    path: str
    causal: bool
    attention: Hashable = None
    again: bool = False
    holder: str = ""
    crosses: bool = False

    @property
    def kind(self) -> Kind:
        if self.crosses or getattr(self.module, "is_cross_attention", False):
            return "cross"
        if self.holder == "TransformerDecoderLayer" and self.path.endswith("multihead_attn"):
            return "cross"  # torch's own
        names = (self.path, type(self.module).__name__, self.holder)
        return "cross" if any(map(_says_cross, names)) else "self"

    @property
    def stack(self) -> str:
        if self.named_stack is not None:
            return self.named_stack
        return "decoder" if self.causal or self.kind == "cross" else "encoder"

    @property
    def named_stack(self) -> str | None:
        """The stack that the path names, if it names one."""
        return _stack_in(self.path)

    @property
    def number(self) -> int | None:
        """The first number in the path, which is the layer's wherever paths have one number a layer."""
        numbers = [part for part in self.path.split(".") if part.isdigit()]
        return int(numbers[0]) if numbers else None


@lru_cache(maxsize=1 << 14)
def _says_cross(name: str) -> bool:
    return bool(_CROSS.search(name))


@lru_cache(maxsize=1 << 14)
def _stack_in(path: str) -> str | None:
    # "encoder_attn" sits in a decoder and says nothing about the stack.
    rest = re.sub(r"encoder_attn\w*", "", path)
    return next((name for name, pattern in _STACKS if pattern.search(rest)), None)


@lru_cache(maxsize=1 << 14)
def _says_depth(name: str) -> bool:
    return bool(re.search(r"layers?$|depth", name))


def number_layers(places: Sequence[CallSite], depths: frozenset[int]) -> list[tuple[str, Kind, int]]:
    """``(stack, kind, layer)`` of each call, in order; calls that share all three are parts of one site.

    A module may attend anew in one forward: each way between two images, each step of a diffusion. What it does the
    second time is a site of its own, in a stack whose name ends in the number of the time ("encoder-2").

    Args:
        places: the calls of one forward, in order.
        depths: numbers of layers that the model's configuration declares.
    """
    result: list[tuple[str, Kind, int] | None] = [None] * len(places)
    towers: dict[tuple[str, Kind], list[int]] = {}
    # Layers of one stack may differ: one that is causal makes a decoder of all (DeepSeek V4 pools keys in some).
    decodes = any(place.named_stack is None and place.stack == "decoder" for place in places)
    for index, place in enumerate(places):
        stack = place.named_stack or ("decoder" if decodes else "encoder")
        towers.setdefault((stack, place.kind), []).append(index)
    for (stack, kind), calls in towers.items():
        layers = _layers([places[index] for index in calls], depths)
        for index, layer in zip(calls, layers, strict=True):
            result[index] = (stack, kind, layer)
    return _times_apart(places, [place for place in result if place is not None])


def _times_apart(places: Sequence[CallSite], numbered: Sequence[tuple[str, Kind, int]]) -> list[tuple[str, Kind, int]]:
    times: dict[tuple[str, Kind, int], list[Hashable]] = {}
    result = []
    for place, (stack, kind, layer) in zip(places, numbered, strict=True):
        known = times.setdefault((stack, kind, layer), [])
        if place.attention not in known:
            known.append(place.attention)
        time = 1 + known.index(place.attention)
        result.append((stack if time == 1 else f"{stack}-{time}", kind, layer))
    return result


def _layers(places: list[CallSite], depths: frozenset[int]) -> list[int]:
    modules = list(dict.fromkeys(id(place.module) for place in places))
    numbers = {id(place.module): place.number for place in places}
    if len(modules) == len(places) or len(modules) in depths:
        distinct = set(numbers.values())
        if None not in distinct and len(distinct) == len(modules):
            return [numbers[id(place.module)] or 0 for place in places]
        return [modules.index(id(place.module)) for place in places]
    # Fewer modules than layers: weights are shared, and every call is a layer of its own.
    return list(range(len(places)))


def declared_depths(config: object) -> frozenset[int]:
    """Every number of layers that a configuration, or one nested in it, declares."""
    found: set[int] = set()
    if isinstance(config, Mapping):
        named = config
    else:
        named = getattr(config, "__dict__", {})
    for name, value in named.items():
        if isinstance(value, int) and not isinstance(value, bool) and _says_depth(name):
            found.add(value)
        elif hasattr(value, "to_dict"):
            found |= declared_depths(value)
    return frozenset(found)
