"""A tiny configuration of any type, from its own defaults.

Widths are divided by one factor, so that what fits together (heads × head size, sums of parts, concatenations) still
does; layers are cut to few, keeping every kind of layer; vocabularies, experts and images become small. No field is
known by its type: only by what its name and value look like. Types that this does not fit try the next, milder
:data:`LADDER` step.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 640
EXPERTS = 16

_WIDTH = re.compile(
    r"(size|sizes|dim|dims|width|widths|channels|rank|units|d_model|d_kv|d_ff|d_inner|n_embd|n_inner|d_head"
    r"|kv_channels|embed|embeds|features|coordinate_size|shape_size)(_per_stage|_list)?$"
)
_NO_WIDTH = re.compile(
    r"patch|image|vocab|input_dim|kernel|window|batch|chunk|grid|crop|num_|codebook_size|block_size|tubelet|input_size|spec_size"
    r"|in_channels|audio_channels|input_channels|position|tile|stack|pool|spatial|temporal|merge|context|group|cache"
    r"|img|type_size|feature_size|input_feat|mel|_grid|max_|queue|feat_sizes|background|^channels$|out_channels_rgb"
    r"|image_embedding_size|pretrain|state_size"
)
_LAYERS = re.compile(
    r"^(num_hidden_layers|n_layers?|num_layers|encoder_layers|decoder_layers|depth|layers"
    r"|num_encoder_layers|num_decoder_layers|(\w+_)?num_hidden_layers|num_blocks|\w+_depth)$"
)
_EXPERTS = re.compile(r"^(num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_routed_experts)$")
_VOCABULARY = re.compile(r"vocab_size")
_TOKEN = re.compile(r"(token_id|token_index|_token)s?$|_id$|_index$")
_POSITIONS = re.compile(r"^(max_source_positions|max_target_positions)$")
_HEADS = re.compile(r"^(\w+_)?(heads?|n_heads?)$")
_HEAD_WIDTH = re.compile(r"head_dim|head_size|d_kv|kv_channels")
_WINDOW = re.compile(r"^(sliding_window|sliding_window_size|local_attention|attention_chunk_size)$")
_QUERIES = re.compile(r"^(num_queries|num_query_tokens|num_denoising)$")
QUERIES = 12
#: Shorter than the texts, so that something lies outside.
WINDOW = 5


@dataclass(frozen=True)
class Step:
    """How hard to shrink.

    Attributes:
        width: what widths are divided by.
        heads: whether there are to be fewer heads of their own size, instead of as many narrower ones.
        layers: how many are kept; None for all.
        image: what the edges of images are divided by.
        positions: whether positions are cut, too.
    """

    width: int = 8
    heads: bool = False
    layers: int | None = 2
    image: int = 4
    positions: bool = True


#: Tried in this order, until a type can be built and run.
LADDER = (
    Step(),
    Step(heads=True),
    Step(width=4, heads=True),
    Step(layers=4),
    Step(heads=True, layers=8),
    Step(layers=8),
    Step(layers=None),
    Step(layers=4, image=1),
    Step(layers=None, image=1),
    Step(heads=True, layers=4, image=1),
    Step(width=4, layers=2, image=1),
    Step(width=4, layers=None, image=1, positions=False),
    Step(width=2, layers=None, image=1, positions=False),
    Step(width=1, layers=2, image=1, positions=False),
    Step(width=1, layers=None, image=1, positions=False),
    Step(width=1, layers=2),
    Step(width=2, heads=True),
)


@dataclass
class _Tokens:
    """Ids beyond the small vocabulary, each given a small one; the same everywhere in a configuration."""

    given: dict[int, int] = field(default_factory=dict)

    def small(self, old: int) -> int:
        if old < VOCABULARY - 100:
            return old
        if old not in self.given:
            self.given[old] = VOCABULARY - 1 - len(self.given)
        return self.given[old]


def shrink(config: Any, step: Step, tokens: _Tokens | None = None) -> Any:
    """A smaller copy of a configuration, sub-configurations included."""
    return _shrink(copy.deepcopy(config), step, tokens or _Tokens())


def _shrink(config: Any, step: Step, tokens: _Tokens) -> Any:
    fields = {name: value for name, value in vars(config).items() if not name.startswith("_") or name == "_out_indices"}
    depth = next(
        (
            fields[n]
            for n in ("num_hidden_layers", "depth", "num_layers", "n_layer", "n_layers")
            if isinstance(fields.get(n), int)
        ),
        None,
    )
    kept = _kept_layers(fields, depth, step.layers)
    for name, value in fields.items():
        if hasattr(value, "to_dict"):
            _put(config, name, _shrink(value, step, tokens))
        elif isinstance(value, bool) or value is None:
            continue
        else:
            new = _small(name, value, step, depth, kept, tokens, fields)
            if new is not None and new != value:
                _put(config, name, new)
    _complete(config)
    return config


def _complete(config: Any) -> None:
    """What defaults leave open but a model needs to be built."""
    heads, hidden = vars(config).get("num_attention_heads"), vars(config).get("hidden_size")
    if not isinstance(heads, int) or not isinstance(hidden, int):
        return
    known = {
        "head_dim": hidden // heads if hidden % heads == 0 else None,
        "num_key_value_heads": heads,
        "vocab_size": VOCABULARY,
        "num_experts_per_tok": 2,
    }
    for name, value in known.items():
        if vars(config).get(name, 0) is None and value is not None:
            _put(config, name, value)


def _put(config: Any, name: str, value: Any) -> None:
    try:
        object.__setattr__(config, name, value)
    except (AttributeError, TypeError, ValueError):
        vars(config)[name] = value


def _small(
    name: str, value: Any, step: Step, depth: int | None, kept: list[int], tokens: _Tokens, fields: dict[str, Any]
) -> Any:
    if isinstance(value, dict):
        return _small_dict(value, step)
    if name == "image_embedding_size" or (name == "backbone_feature_sizes" and value):
        return _divided(value, step.image)
    if isinstance(value, (list, tuple)) and re.fullmatch(r"image_size|img_size", name):
        return type(value)(_small_image(edge, fields.get("patch_size"), step.image) for edge in value)
    if isinstance(value, (list, tuple)):
        return _small_list(name, value, step, depth, kept, tokens)
    if not isinstance(value, int):
        return None
    if _VOCABULARY.search(name):
        return min(value, VOCABULARY)
    if _LAYERS.search(name):
        if step.layers is None or value <= step.layers:
            return None
        return len(kept) if value == depth else step.layers
    if _EXPERTS.search(name):
        return min(value, EXPERTS)
    if re.fullmatch(r"image_size|img_size", name):
        return _small_image(value, fields.get("patch_size"), step.image)
    if _TOKEN.search(name):
        return tokens.small(value)
    if step.positions and _POSITIONS.search(name):
        return min(value, 100)
    if _QUERIES.search(name):
        return min(value, QUERIES)
    if _WINDOW.search(name):
        return min(value, WINDOW)
    if step.heads and _HEADS.search(name):
        return max(1, value // step.width)
    if step.heads and _HEAD_WIDTH.search(name):
        return None
    return _narrow(name, value, step.width)


def _narrow(name: str, value: int, width: int) -> int | None:
    if _WIDTH.search(name) and not _NO_WIDTH.search(name) and value % width == 0 and value // width >= 2:
        return value // width
    return None


def _small_image(size: int, patch: Any, factor: int) -> int:
    patch = patch if isinstance(patch, int) else (patch[-1] if isinstance(patch, (list, tuple)) and patch else 16)
    least = 4 * patch
    return size if size <= least or factor == 1 else max(least, size // factor // patch * patch)


def _divided(sizes: Any, factor: int) -> Any:
    """Sizes of feature maps, which follow the image's."""
    return (
        type(sizes)(_divided(size, factor) for size in sizes) if isinstance(sizes, (list, tuple)) else sizes // factor
    )


def _small_dict(value: dict[str, Any], step: Step) -> dict[str, Any]:
    """Rotary sections are parts of a head."""
    return {
        key: [part // step.width for part in inner]
        if key == "mrope_section" and not step.heads and all(part % step.width == 0 for part in inner)
        else _small_dict(inner, step)
        if isinstance(inner, dict)
        else inner
        for key, inner in value.items()
    }


def _small_list(name: str, value: Any, step: Step, depth: int | None, kept: list[int], tokens: _Tokens) -> Any:
    kind = type(value)
    if not value:
        return None
    if depth is not None and len(value) == depth and depth > len(kept):
        return kind(value[index] for index in kept)
    numbers = all(isinstance(part, int) and not isinstance(part, bool) for part in value)
    if not numbers:
        return None
    if _TOKEN.search(name):
        return kind(tokens.small(part) for part in value)
    if name == "depths" and step.layers is not None:
        return kind(min(part, step.layers) for part in value)
    if depth is not None and re.search(r"index|indices|idxs|layers", name) and len(kept) < depth:
        near = sorted(
            {min(part * len(kept) // depth, len(kept)) if part >= 0 else max(part, -len(kept)) for part in value}
        )
        return kind(part for part in near if part <= len(kept))
    narrowed = [_narrow(name, part, step.width) for part in value]
    return None if None in narrowed else kind(narrowed)


def _kept_layers(fields: dict[str, Any], depth: int | None, most: int | None) -> list[int]:
    """Layers to keep: the first of every kind that per-layer lists tell apart, and at least ``most``."""
    if depth is None:
        return []
    if most is None or depth <= most:
        return list(range(depth))
    per_layer = [value for value in fields.values() if isinstance(value, (list, tuple)) and len(value) == depth]
    firsts: dict[str, int] = {}
    for index in range(depth):
        firsts.setdefault(repr([values[index] for values in per_layer]), index)
    kept = sorted(firsts.values())[:4]
    for index in range(depth):
        if len(kept) >= most:
            break
        if index not in kept:
            kept.append(index)
    return sorted(kept)
