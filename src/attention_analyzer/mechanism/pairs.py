"""Pairs of a clean and a corrupted text, and the number that is compared between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, InputError
from attention_analyzer.inputs import Text, prepare
from attention_analyzer.mechanism.target import LogitTarget, Token, axis_of, choose_target, row_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokens import Tokens

#: A function of logits ``[position, vocabulary]`` of one text that returns one number.
Metric = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Pair:
    """A clean and a corrupted text of the same length, as inputs of the model.

    Attributes:
        tokens: of the clean text where the model predicts; ``source``: of its main text.
        differ: positions of the main text at which the two differ.
    """

    clean: Mapping[str, Any]
    corrupted: Mapping[str, Any]
    tokens: Tokens
    source: Tokens
    differ: tuple[int, ...]
    prepared: Any


def pair_of(loaded: LoadedModel, clean: Text, corrupted: Text, *, truncate: bool = False) -> Pair:
    """The pair as inputs.

    Raises:
        InputError: the two have different numbers of tokens, or the same tokens.
    """
    one, two = (prepare(loaded, [text], truncate=truncate) for text in (clean, corrupted))
    axes = [(one.source[0], two.source[0])]
    if one.target is not None and two.target is not None:
        axes.append((one.target[0], two.target[0]))
    for left, right in axes:
        _check_lengths(left, right)
    differ = tuple(at for at, (a, b) in enumerate(zip(one.source[0].ids, two.source[0].ids, strict=True)) if a != b)
    if not differ and all(left.ids == right.ids for left, right in axes):
        raise InputError("The clean and the corrupted text have the same tokens, so there is nothing to patch.")
    return Pair(one.inputs, two.inputs, axis_of(one), one.source[0], differ, one)


def _check_lengths(clean: Tokens, corrupted: Tokens) -> None:
    if len(clean) == len(corrupted):
        return
    shared = zip(clean.ids, corrupted.ids, strict=False)
    first = next((at for at, (a, b) in enumerate(shared) if a != b), min(len(clean), len(corrupted)))
    shown = [repr(tokens.pieces[first]) if first < len(tokens) else "the end" for tokens in (clean, corrupted)]
    raise InputError(
        f"The clean text has {len(clean)} tokens and the corrupted one {len(corrupted)}; they first differ at position "
        f"{first} ({shown[0]} and {shown[1]}). Replace words by words of as many tokens, so that positions match."
    )


def logit_metric(
    loaded: LoadedModel,
    pair: Pair,
    clean: Tensor,
    corrupted: Tensor,
    target: Token | None,
    versus: Token | None,
    position: int | None,
) -> LogitTarget:
    """The target's logit less another one's: by default the tokens that the model predicts for the two texts."""
    chosen = choose_target(loaded, pair.prepared, clean, target, versus, position)
    if versus is None:
        other = int(row_of(corrupted, chosen.position).argmax())
        if other != chosen.token:
            return choose_target(loaded, pair.prepared, clean, chosen.token, other, chosen.position)
    return chosen


def measured(metric: Metric | LogitTarget, logits: Tensor) -> Tensor:
    """The number of each text of a batch, ``[text]`` on the graph of the logits.

    Raises:
        InputError: a metric that does not return one number; CaptureError: NaN.
    """
    if isinstance(metric, LogitTarget):
        values = torch.stack([metric.of(row[None]) for row in logits])
    else:
        values = torch.stack([_number(metric(row)).to(logits.device) for row in logits])
    if bool(values.detach().isnan().any()):
        raise CaptureError("The metric is NaN, so nothing can be compared; look for NaN in the model and the metric.")
    return values


def _number(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value.reshape(())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value))
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
    raise InputError(f"A metric takes logits [position, vocabulary] and returns one number, but this one gave {shown}.")


def same_length(pairs: Sequence[Pair]) -> list[list[int]]:
    """Numbers of the pairs that can run as one batch."""
    groups: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
    for number, pair in enumerate(pairs):
        shapes = tuple((name, tuple(value.shape)) for name, value in pair.clean.items() if isinstance(value, Tensor))
        groups.setdefault(shapes, []).append(number)
    return list(groups.values())


def stacked(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Inputs of texts of one length as a batch."""
    first = inputs[0]
    return {
        name: torch.cat([each[name] for each in inputs]) if isinstance(value, Tensor) else value
        for name, value in first.items()
    }
