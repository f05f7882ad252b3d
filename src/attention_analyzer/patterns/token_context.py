"""What patterns must know of a text beside the weights: groups of tokens, and which tokens are alike.

Both exist a second time moved along the text, for the position-matched control: their number and spacing stay, only
the tokens are wrong. What a head does by position alone, it does to the moved ones as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import TokenContext
from attention_analyzer.text.padding import padded
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.reductions import GroupWeight, MatchWeight, Reduction, Statistics

#: How far groups and labels are moved, as shares of the text's length; no small multiple of one another, so that text
#: which repeats itself does not fall on itself.
MOVES = (0.236, 0.618, 0.854)
#: A number for each query and each key of a text.
Sides = tuple[Sequence[int], Sequence[int]]
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")


def token_context_of(queries: Tokens, keys: Tokens, diagonal: int | None) -> TokenContext:
    """The frame of a site's tokens."""
    groups = {name: flags for name, flags in keys.groups().items() if name == "first" or bool(flags.any())}
    return TokenContext(
        diagonal, groups, padded_labels([labels_of(queries, keys, diagonal)], (len(queries), len(keys)))
    )


def labels_of(queries: Tokens, keys: Tokens, diagonal: int | None) -> dict[str, Sides]:
    """Which tokens of a text are alike: a number for each query and each key, by name; -1 for those like none."""
    labels: dict[str, Sides] = {}
    if diagonal is not None and keys.pieces[diagonal:] == queries.pieces:
        token, sentence = _token_labels(keys), sentence_numbers(keys.pieces, keys.is_special, keys.segments)
        labels["token"] = (token[diagonal:], token)
        labels["token_before"] = (token[diagonal:], [-1, *token[:-1]])
        if max(sentence) > 0:  # in a text of one sentence everything is inside it
            labels["sentence"] = (sentence[diagonal:], sentence)
    return labels


def batched_token_context(queries: Sequence[Tokens], keys: Sequence[Tokens], diagonal: int | None) -> TokenContext:
    """The frames of several texts, with their moved copies, padded to one: padding is in no group and bears no label.

    A text that lacks a group or labels which another one has says nothing about their patterns (NaN).
    """
    frames = [with_moves(token_context_of(*pair, diagonal)) for pair in zip(queries, keys, strict=True)]
    lengths = max(map(len, queries)), max(map(len, keys))
    names = dict.fromkeys(name for frame in frames for name in frame.groups)
    groups = {name: torch.cat([_padded(each.groups.get(name), lengths[1], False) for each in frames]) for name in names}
    labels = [{name: (q[0].tolist(), k[0].tolist()) for name, (q, k) in frame.labels.items()} for frame in frames]
    return TokenContext(diagonal, groups, padded_labels(labels, lengths), moves=len(MOVES))


def padded_labels(texts: Sequence[Mapping[str, Sides]], lengths: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """The labels of several texts on axes of these lengths, int64 ``([text, query], [text, key])``."""
    nothing: Sides = ([], [])
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name in dict.fromkeys(name for labels in texts for name in labels):
        queries, keys = zip(*(labels.get(name, nothing) for labels in texts), strict=True)
        found[name] = padded(queries, lengths[0], -1), padded(keys, lengths[1], -1)
    return found


def with_moves(frame: TokenContext) -> TokenContext:
    """The same with moved copies of all groups and labels."""
    groups, labels = dict(frame.groups), dict(frame.labels)
    for number, share in enumerate(MOVES, start=1):
        for name, flags in frame.groups.items():
            groups[f"{name}~{number}"] = _moved(flags, share)
        for name, (of_queries, of_keys) in frame.labels.items():
            labels[f"{name}~{number}"] = (_moved(of_queries, share), _moved(of_keys, share))
    return replace(frame, groups=groups, labels=labels, moves=len(MOVES))


def moved_needs(needs: Iterable[Reduction], moves: int) -> list[Reduction]:
    """The same needs for the moved groups and labels."""
    found: list[Reduction] = []
    for need in needs:
        for number in range(1, moves + 1):
            if isinstance(need, GroupWeight):
                found.append(GroupWeight(f"{need.group}~{number}"))
            elif isinstance(need, MatchWeight):
                found.append(MatchWeight(f"{need.labels}~{number}", need.among))
    return found


def moved_results(results: Statistics, number: int) -> Statistics:
    """Results as if the ``number``-th moved groups and labels were the text's own."""
    values = dict(results.values)
    for need in results.values:
        for moved in moved_needs([need], number)[number - 1 :]:
            if moved in results.values:
                values[need] = results.values[moved]
    return Statistics(results.axes, values)


def _padded(values: Tensor | None, length: int, fill: int | bool) -> Tensor:
    if values is None:
        return torch.full((1, length), fill)
    return torch.nn.functional.pad(values, (0, length - values.shape[1]), value=fill)


def _moved(values: Tensor, share: float) -> Tensor:
    """Moved along the last axis by a share of its length, at least by one; what falls off the end comes in again."""
    return values.roll(max(1, round(share * values.shape[-1])), dims=-1)


def _token_labels(tokens: Tokens) -> list[int]:
    """Equal for equal tokens, -1 for special ones."""
    known: dict[object, int] = {}
    names = tokens.ids or tokens.pieces
    labels = [known.setdefault(name, len(known)) for name in names]
    return [-1 if special else label for label, special in zip(labels, tokens.is_special, strict=True)]


def sentence_numbers(pieces: Sequence[str], is_special: Sequence[bool], segments: Sequence[int]) -> list[int]:
    """The number of each token's sentence, -1 for special tokens. A line or a segment ends one too."""
    labels: list[int] = []
    number, ended, segment = 0, False, segments[0] if segments else 0
    for piece, special, of in zip(pieces, is_special, segments, strict=True):
        shown = piece.strip()
        closes = not shown or all(character in ".!?…。！？\"'”’)»" for character in shown)
        if of != segment or (ended and not closes):
            number, ended, segment = number + 1, False, of
        labels.append(-1 if special else number)
        ended = ended or shown.endswith(_SENTENCE_ENDS) or "⏎" in piece
    return labels
