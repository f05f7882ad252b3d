"""Texts made to show one thing: random tokens that repeat, and a needle to be found again.

Random tokens carry no meaning, so a head that finds its place in their repetition does so by the repetition alone
(Olsson et al. 2022). Stretches of different lengths come back in changing order, at changing distances: with one fixed
period, a head that always looks so many tokens back could not be told from one that reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_analyzer.inputs import Prepared, prepare, takes_mask
from attention_analyzer.models.embeddings import embedded_positions, vocabulary_size
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.streaming import Labels
from attention_analyzer.text.tokenization import tokenize

Ids = NDArray[np.int64]
EXAMPLES = 10
_STRETCHES, _TIMES, _SHORTEST, _LONGEST = 4, 3, 8, 16
_NEEDLE = 12
#: A haystack's length in tokens, where the model has positions for it.
HAYSTACK = 512
#: The shortest haystack in which a needle is far away.
SHORTEST_HAYSTACK = 6 * _NEEDLE


def repeated_tokens(loaded: LoadedModel, examples: int = EXAMPLES, seed: int = 0) -> Prepared:
    """Random tokens in which four stretches of 8 to 16 tokens come three times each, in random order."""
    draw = np.random.default_rng(seed)
    vocabulary = plain_ids(loaded)
    rows = []
    for _ in range(examples):
        stretches = [draw.choice(vocabulary, draw.integers(_SHORTEST, _LONGEST + 1)) for _ in range(_STRETCHES)]
        rows.append(np.concatenate([stretches[number] for number in _order(draw)])[: room(loaded)])
    return prepared_ids(loaded, rows)


def needles(
    loaded: LoadedModel, examples: int = EXAMPLES, length: int = HAYSTACK, seed: int = 0
) -> tuple[Prepared, Labels] | None:
    """Needles of twelve random tokens, deep in other random tokens, that begin again at the end.

    The labels are those of :class:`.retrieval.Retrieval`. Only those queries count at which the model itself says the
    needle's next token (Wu et al. 2024); where it has no output over its vocabulary, all of them. None for a model
    that has no positions for :data:`SHORTEST_HAYSTACK` tokens.
    """
    draw = np.random.default_rng(seed)
    vocabulary = plain_ids(loaded)
    size = min(length, room(loaded))
    if size < SHORTEST_HAYSTACK or len(vocabulary) < _NEEDLE:
        return None
    rows, buried = [], []
    for _ in range(examples):
        ids = draw.choice(vocabulary, size)
        needle = draw.choice(vocabulary, _NEEDLE, replace=False)
        start = int(draw.integers(1, size // 2 - _NEEDLE))
        ids[start : start + _NEEDLE] = ids[-_NEEDLE:] = needle
        rows.append(ids)
        buried.append((start, torch.from_numpy(needle)))
    prepared = prepared_ids(loaded, rows)
    before = prepared.source[0].is_special.index(False)
    asked, held = (torch.full((examples, prepared.source_length), -1) for _ in range(2))
    last = before + size - _NEEDLE
    for row, (start, content) in enumerate(buried):
        held[row, before + start : before + start + _NEEDLE] = content
        asked[row, last : last + _NEEDLE - 1] = content[1:]
    said = _said(loaded, prepared)
    if said is not None:
        asked[said != asked] = -1
    return prepared, {"needle": (asked, held)}


def plain_ids(loaded: LoadedModel) -> Ids:
    """All ids of the vocabulary but the special tokens': without a tokenizer, all that the model embeds.

    Raises:
        ModelError: the model has no embedding of ids.
    """
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        config = loaded.config
        names = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
        special = {getattr(config, name, None) for name in names}
        return np.array([number for number in range(vocabulary_size(loaded)) if number not in special])
    special = set(tokenizer.all_special_ids)
    rows = getattr(loaded.config, "vocab_size", None) or len(tokenizer)
    return np.array([number for number in range(min(len(tokenizer), rows)) if number not in special])


def prepared_ids(loaded: LoadedModel, rows: Sequence[Ids]) -> Prepared:
    """A padded batch of these ids, each between the special tokens that the tokenizer puts around a text.

    Rows are cut to one length for a model that takes no attention mask, because it could not be told of padding.
    """
    if not takes_mask(loaded.model):
        shortest = min(len(row) for row in rows)
        rows = [row[:shortest] for row in rows]
    before, after = _around(loaded)
    return prepare(loaded, [{"input_ids": torch.tensor([[*before, *row.tolist(), *after]])} for row in rows])


def _around(loaded: LoadedModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and after a text; none where the tokenizer reads no word that it writes."""
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        return (), ()
    for number in plain_ids(loaded):
        word = tokenizer.decode([int(number)]).strip()
        if not word:
            continue
        tokens = tokenize(tokenizer, [word]).tokens[0]
        plain = [index for index, special in enumerate(tokens.is_special) if not special]
        if plain:
            return tokens.ids[: plain[0]], tokens.ids[plain[-1] + 1 :]
    return (), ()


def _order(draw: np.random.Generator) -> list[int]:
    """Every stretch three times, none directly after itself."""
    while True:
        order: list[int] = draw.permutation(np.repeat(np.arange(_STRETCHES), _TIMES)).tolist()
        if all(left != right for left, right in pairwise(order)):
            return order


def room(loaded: LoadedModel) -> int:
    """Tokens that fit beside the special ones."""
    return (loaded.max_length or embedded_positions(loaded.model) or HAYSTACK + 4) - 4


def _said(loaded: LoadedModel, prepared: Prepared) -> Tensor | None:
    """int64 ``[text, token]``: what the model says comes after each token; None for a model that says nothing."""
    with loaded.evaluating() as model, torch.no_grad():
        logits = getattr(model(**prepared.inputs), "logits", None)
    return None if logits is None or logits.dim() != 3 else logits.argmax(-1).cpu()
