"""Which part of an image each token of a vision model shows: proved on the model, or not claimed.

The grid is derived from the size and stride of the model's patches. Then it is tried: one row of patches is changed at
a time, and one column, and the tokens that differ when they reach the first attention are those of that row and column.
A token is named ``row,column`` only if all of them come out as a grid. Tokens that no pixel changes are named by the
parameter that does change them (class, distillation, registers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens

#: Images that run together, and rows and columns of patches that are tried at most.
_TOGETHER = 8
_MOST_LINES = 512
#: Learned tokens by the last part of their parameter's name.
_LEARNED = (
    (re.compile(r"cls_?(token|embedding)|class_?(token|embedding)"), "[CLS]"),
    (re.compile(r"dist(illation)?_?token"), "[DIST]"),
    (re.compile(r"(register|storage|reg)_?(tokens?|embeddings?)"), "[REG]"),
)


class _Reached(BaseException):
    """The first attention was reached; the rest of the forward is not needed."""


@dataclass
class Patches:
    """What the tokens of images are, for the inputs of one forward."""

    loaded: LoadedModel
    inputs: Mapping[str, Any]
    _found: dict[tuple[str, int], Tokens | None] = field(default_factory=dict)

    def tokens(self, site: Site, size: int) -> Tokens | None:
        """The patches on an axis of a vision site; None where it is not proved what they are."""
        pixels = self.inputs.get("pixel_values")
        if site.kind != "self" or not isinstance(pixels, Tensor) or pixels.dim() != 4:
            return None
        key = (site.stack, size)
        if key not in self._found:
            self._found[key] = self._proved(site.module, size, pixels)
        return self._found[key]

    def _proved(self, module: str, size: int, pixels: Tensor) -> Tokens | None:
        devices = [self.loaded.device] if self.loaded.device.type == "cuda" else []
        with self.loaded.evaluating() as model, torch.no_grad(), torch.random.fork_rng(devices=devices):
            probe = _Probe(model, module, self.loaded.to_device(dict(self.inputs)), size)
            try:
                plain = probe.run([probe.image])
                for height, width in _patch_sizes(model, pixels.shape[1]):
                    rows, columns = pixels.shape[2] // height, pixels.shape[3] // width
                    if 0 < rows * columns <= size and rows + columns <= _MOST_LINES:
                        cells = _cells(probe, plain, (rows, columns), (height, width))
                        if cells is not None:
                            return _named(cells, _learned(probe, plain, cells))
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError):
                return None  # The model cannot be tried like this; its record does not depend on it.
        return None


@dataclass(frozen=True)
class _Probe:
    """Runs a model up to one attention module, with other pixels or parameters."""

    model: nn.Module
    module: str
    inputs: dict[str, Any]
    size: int

    @property
    def image(self) -> Tensor:
        """``[channel, row, column]`` of the first image."""
        pixels: Tensor = self.inputs["pixel_values"][0]
        return pixels

    def run(self, images: list[Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the attention module reads for each image: float32 ``[image, token, channel]``."""
        given = {
            name: value[:1].expand(len(images), *value.shape[1:])
            if isinstance(value, Tensor) and value.dim() and len(value) == len(self.inputs["pixel_values"])
            else value
            for name, value in self.inputs.items()
        }
        given["pixel_values"] = torch.stack(images)
        read: list[Tensor] = []

        def stop(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            read.extend(
                each for each in (*arguments, *options.values()) if isinstance(each, Tensor) and each.dim() == 3
            )
            raise _Reached

        hook = self.model.get_submodule(self.module).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            torch.func.functional_call(self.model, dict(parameters or {}), kwargs=given)
        except _Reached:
            pass
        finally:
            hook.remove()
        if not read or read[0].shape[:2] != (len(images), self.size):
            raise ValueError("the module reads no sequence of this size")
        return read[0].float()

    def changed(self, plain: Tensor, after: Tensor) -> Tensor:
        """bool ``[image, token]``: which tokens differ from those of the untouched image, beyond rounding."""
        rounding = 1e-4 if self.image.dtype == torch.float32 else 2e-2
        return (after - plain).abs().amax(-1) > rounding * plain.abs().amax()


def _patch_sizes(model: nn.Module, channels: int) -> Iterator[tuple[int, int]]:
    """Sizes of patches that do not overlap, as the model's convolutions over images have them."""
    seen = set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == channels and module.kernel_size == module.stride:
            size = (int(module.stride[0]), int(module.stride[1]))
            if size not in seen:
                seen.add(size)
                yield size


def _cells(probe: _Probe, plain: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> list[str] | None:
    """``row,column`` for the token of each patch and "" for tokens that no patch changes; None if that is no grid."""
    touched = [_touched(probe, plain, axis, grid[axis], patch[axis]) for axis in (0, 1)]
    if any(bool((lines.sum(0) > 1).any()) for lines in touched):
        return None  # a token of two rows or columns
    if not torch.equal(touched[0].any(0), touched[1].any(0)):
        return None
    rows, columns = (lines.long().argmax(0).tolist() for lines in touched)
    is_patch = touched[0].any(0).tolist()
    cells = [f"{row},{column}" if patch else "" for row, column, patch in zip(rows, columns, is_patch, strict=True)]
    named = [cell for cell in cells if cell]
    return cells if len(set(named)) == len(named) == grid[0] * grid[1] else None


def _touched(probe: _Probe, plain: Tensor, axis: int, count: int, size: int) -> Tensor:
    """bool ``[line, token]``: which tokens each row (axis 0) or column (1) of patches changes."""
    noise = _noise(probe.image)
    parts = []
    for start in range(0, count, _TOGETHER):
        images = []
        for line in range(start, min(start + _TOGETHER, count)):
            images.append(probe.image.clone())
            images[-1].narrow(axis + 1, line * size, size).add_(noise.narrow(axis + 1, line * size, size))
        parts.append(probe.changed(plain, probe.run(images)))
    return torch.cat(parts)


def _noise(like: Tensor) -> Tensor:
    """A change that no norm takes away again."""
    # Of a shape that images do not have by chance: a multiple of the image is the image, after a norm.
    noise = torch.rand(like.shape, generator=torch.Generator().manual_seed(982_451_653)) - 0.5
    return (8 * noise).to(like)


def _learned(probe: _Probe, plain: Tensor, cells: list[str]) -> dict[int, str]:
    """Names of tokens that a learned parameter alone makes, found by changing a copy of it."""
    names: dict[int, str] = {}
    for path, parameter in probe.model.named_parameters():
        name = next((name for pattern, name in _LEARNED if pattern.fullmatch(path.rpartition(".")[2])), None)
        if name is None:
            continue
        touched = probe.changed(plain, probe.run([probe.image], {path: parameter + _noise(parameter)}))[0]
        tokens = [token for token in range(probe.size) if bool(touched[token])]
        if any(cells[token] for token in tokens):
            continue
        for number, token in enumerate(tokens):
            names[token] = name if len(tokens) == 1 else f"{name[:-1]}{number + 1}]"
    return names


def _named(cells: list[str], learned: Mapping[int, str]) -> Tokens:
    pieces = [cell or learned.get(token, f"{token}") for token, cell in enumerate(cells)]
    return Tokens(tuple(pieces), is_special=tuple(not cell for cell in cells))
