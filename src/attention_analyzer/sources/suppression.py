"""What follows a part when nothing may attend to it: the change of the model's predictions, part by part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.errors import InputError, TooLongError, UnsupportedModelError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.result import Result
from attention_analyzer.sources.prompt import Prompt
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.text.chat import Messages, chat_text, is_messages
from attention_analyzer.text.parts import Parts
from attention_analyzer.text.splitters import Level, parts_of
from attention_analyzer.text.tokenization import tokenize

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Suppression(Result):
    """How much each part changes what the model predicts in the parts after it (compare Bogdan et al. 2025).

    Attributes:
        parts: of the text.
        divergence: ``[suppressed part, following part]``, the Kullback–Leibler divergence in nats from the model's own
            predictions to those without attention to the part, mean over the tokens of the following part. NaN where
            nothing is measured: before the part, in it, and in a following part of one token that the part itself
            predicts.
    """

    parts: Parts
    divergence: Floats = field(compare=False)
    model_name: str = ""

    def facts(self) -> tuple[str, ...]:
        sizes = f"{len(self.parts)} parts ({self.parts.level}), each suppressed once"
        special = self.parts.tokens.is_special
        sinks = [all(special[token] for token in self.parts.positions(name)) for name in self.parts.names]
        shown = np.where(np.array(sinks)[:, None], np.nan, self.divergence)  # a sink is missed by all that follows
        if np.isnan(shown).all():
            return (sizes,)
        part, after = np.unravel_index(int(np.nanargmax(shown)), shown.shape)
        names = self.parts.names
        return (
            sizes,
            f"most: {names[after]} without {names[part]}, {self.divergence[part, after]:.3f} nats per token",
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per pair: ``part`` (suppressed), ``following``, ``divergence`` in nats per token."""
        rows, columns = np.nonzero(~np.isnan(self.divergence))
        names = np.array(self.parts.names)
        return pd.DataFrame(
            {"part": names[rows], "following": names[columns], "divergence": self.divergence[rows, columns]}
        )


def suppression(
    loaded: LoadedModel, text: str | Messages, level: Level | None = None, *, progress: OnProgress | None = None
) -> Suppression:
    """Suppress each part in turn: no later token may attend to it, in any head; rows renormalize over other keys.

    Raises:
        InputError: the text has no two parts.
        TooLongError: it exceeds the model's positions.
        UnsupportedModelError: the model does not continue texts, or its cache cannot be cut.
    """
    if not loaded.can_generate or loaded.architecture == "encoder-decoder":
        raise UnsupportedModelError(
            f"{loaded.name or 'This model'} does not continue a text, so what follows a part is not measured; use a "
            "decoder with a language-model head."
        )
    tokenizer = loaded.need_tokenizer()
    written = chat_text(tokenizer, text) if is_messages(text) else text
    if not isinstance(written, str):
        raise InputError(f"A text is a str or a list of messages, not {type(text).__name__}.")
    tokens = tokenize(tokenizer, [written]).tokens[0]
    if loaded.max_length is not None and len(tokens) > loaded.max_length:
        raise TooLongError(f"The text has {len(tokens):,} tokens, but the model has {loaded.max_length:,} positions.")
    parts = parts_of(tokens, level)
    if sum(part.end > part.start for part in parts.parts) < 2:
        raise InputError(f"The text is one part ({parts.level}); give a finer level, or parts of your own.")
    last = len(parts) - 1
    scorer = Scorer(loaded, Prompt(tokens.head(len(tokens) - 1), parts, tuple(range(last)), tokens.ids[-1:], "", True))
    if not scorer.has_cache:
        raise UnsupportedModelError(
            "The model's cache of keys and values cannot be cut; knock the part out with record.what_if(knock_out=…)."
        )
    counter = ProgressCounter(last, progress)
    whole = scorer.predictions()
    divergence = np.full((len(parts), len(parts)), np.nan)
    for part in range(last):
        start = parts.borders[part + 1]
        counter.advance()
        if start == len(tokens) - 1:  # one token follows, which the part itself predicts
            continue
        changed = scorer.predictions(without=part)
        own = whole[start:]
        by_token = (own.exp() * (own - changed)).sum(-1).clamp(min=0).numpy()
        # A query at position p predicts the token p + 1, which belongs to the part that starts there.
        owners = np.array(parts.owners)[start + 1 :]
        for after in range(part + 1, len(parts)):
            if (owners == after).any():
                divergence[part, after] = by_token[owners == after].mean()
    return Suppression(parts, divergence, loaded.name)
