"""The fixed texts that a tracker reads at every moment, with everything prepared that does not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attention_analyzer.errors import InputError
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.pattern import TokenContext
from attention_analyzer.patterns.token_context import batched_token_context
from attention_analyzer.site import Kind
from attention_analyzer.text.tokenization import Pair, tokenize, tokens_of_ids

#: Written for this purpose, so that they are in no training text. The first is short: its patterns are kept whole.
TEXTS = (
    "The teacher gave the tired student a red book, and she read it twice.",
    (
        "Maria and her brother packed two bags before the train left. The train was late, so Maria read the paper "
        "while her brother slept on one of the bags. When the train came, the bags were too heavy for them."
    ),
    (
        "In the north of the country, winters are long: snow falls in October, and the lakes stay frozen until May. "
        "People who live near the lakes keep wood, oil and food for six months, because the roads are often closed."
    ),
    (
        "The results of the second test were clear. The first machine, which had failed twice in March, was faster "
        "than the new one; but the new one made fewer errors, and it cost half as much as the first."
    ),
)
#: Patterns that natural text shows badly: their strength is measured on random tokens that repeat.
ON_REPEATS = ("induction", "duplicate_token")
#: Lengths of the stretches of random tokens, each of which comes three times, in changing order.
_STRETCHES, _TIMES, _ROWS = (8, 10, 12, 14), 3, 4


@dataclass(frozen=True)
class Probe:
    """A padded batch of one kind of text.

    Attributes:
        name: "text", or "repeats" for repeated random tokens.
        prepared: the model's inputs and the tokens.
        frames: by (is the site in the decoder of two stacks, kind): groups and labels of its axes.
    """

    name: str
    prepared: Prepared
    frames: dict[tuple[str, Kind], TokenContext] = field(default_factory=dict)

    def frame(self, stack: str, kind: Kind) -> TokenContext:
        """Groups and labels of a site's axes, with their moved copies; the same at every moment."""
        if (stack, kind) not in self.frames:
            queries, keys = self.prepared.axes(stack, kind)
            self.frames[stack, kind] = batched_token_context(queries, keys, None if kind == "cross" else 0)
        return self.frames[stack, kind]


def probes_for(loaded: LoadedModel, texts: Sequence[str | Pair] | None = None) -> list[Probe]:
    """The texts, and (for a model of one stack) rows of repeated random tokens.

    Raises:
        InputError: there is no text, or one cannot be used.
    """
    chosen: list[str | Pair] = list(TEXTS if texts is None else texts)
    if not chosen:
        raise InputError("No probe texts were given; at least one is needed.")
    two_stacks = loaded.architecture == "encoder-decoder"
    if two_stacks:
        # A target that the model writes itself would change from moment to moment.
        chosen = [text if isinstance(text, tuple) else (text, text) for text in chosen]
    found = [Probe("text", prepare(loaded, chosen, truncate=texts is None))]
    if not two_stacks:
        found.append(Probe("repeats", _repeats(loaded)))
    return found


def _repeats(loaded: LoadedModel) -> Prepared:
    """Rows of equal length: stretches of random tokens that come back at changing distances."""
    tokenizer = loaded.need_tokenizer()
    draw = np.random.default_rng(0)
    special = set(tokenizer.all_special_ids)
    size = min(len(tokenizer), getattr(loaded.config, "vocab_size", None) or len(tokenizer))
    vocabulary = np.array([number for number in range(size) if number not in special])
    around = tokenize(tokenizer, ["a"]).tokens[0]
    first = around.is_special.index(False)
    last = len(around) - around.is_special[::-1].index(False)
    room = (loaded.max_length or 1 << 20) - first - (len(around) - last)
    rows = []
    for _ in range(_ROWS):
        stretches = [draw.choice(vocabulary, length) for length in _STRETCHES]
        order = draw.permutation(np.repeat(np.arange(len(stretches)), _TIMES))
        ids = np.concatenate([stretches[number] for number in order])[:room].tolist()
        rows.append([*around.ids[:first], *ids, *around.ids[last:]])
    inputs = torch.tensor(rows)
    tokens = tuple(tokens_of_ids(tokenizer, row) for row in rows)
    return Prepared(loaded.to_device({"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}), tokens)
