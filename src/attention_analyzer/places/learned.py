"""Tokens that no pixel changes, named by the parameter that makes them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from attention_analyzer.places.probe import NotReachedError, Probe

#: Roles of learned tokens by the last part of their parameter's name, with what is shown for them.
_ROLES = (
    (re.compile(r"cls_?(token|embedding)|class_?(token|embedding)"), "class", "[CLS]"),
    (re.compile(r"dist(illation)?_?token"), "distillation", "[DIST]"),
    (re.compile(r"(register|storage|reg)_?(tokens?|embeddings?)"), "register", "[REG]"),
    (re.compile(r"query_?(tokens?|embeddings?)|latents?|image_queries"), "query", "[QUERY]"),
    (re.compile(r"image_newline|view_separator|img_(start|end|break)_token"), "separator", "[SEP]"),
)


def learned_tokens(probe: Probe, free: tuple[bool, ...]) -> dict[int, tuple[str, str]]:
    """Role and name of those tokens that one learned parameter alone makes, found by changing a copy of it.

    Args:
        free: per token whether no part of the input changes it.
    """
    names: dict[int, tuple[str, str]] = {}
    try:
        plain = probe.run([probe.inputs])
        for path, parameter in probe.model.named_parameters():
            match = next((each for each in _ROLES if each[0].fullmatch(path.rpartition(".")[2])), None)
            if match is None:
                continue
            tokens = _changed(probe, plain, {path: parameter + _noise(parameter)})
            if not all(free[token] for token in tokens):
                continue
            _, role, name = match
            for number, token in enumerate(tokens):
                names[token] = (role, name if len(tokens) == 1 else f"{name[:-1]}{number + 1}]")
    except NotReachedError:
        return {}
    return names


def _changed(probe: Probe, plain: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> list[int]:
    touched = probe.changed(plain, probe.run([probe.inputs], parameters))[0]
    return [int(token) for token in touched.nonzero()[:, 0]]


def _noise(like: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(982_451_653)
    return (8 * (torch.rand(like.shape, generator=generator) - 0.5)).to(like)
