"""Scores of tokens as a reader gets them: by piece or by word, special tokens dealt with, shares of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question, ask
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.registry import attribution_named
from attention_analyzer.deprecation import ATTRIBUTION_VALUES, renamed_arguments
from attention_analyzer.errors import CaptureError, InputError
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.media_recording import Media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.places.heat import smoothed, spread
from attention_analyzer.result import Result
from attention_analyzer.text.place import Place
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

Unit = Literal["token", "word"]
Special = Literal["keep", "apart", "exclude"]
UNITS: tuple[Unit, ...] = ("token", "word")
SPECIAL: tuple[Special, ...] = ("keep", "apart", "exclude")


@dataclass(frozen=True)
class Units:
    """Tokens put together into what is scored.

    Attributes:
        names: what each unit shows; ``special``: whether it is a special token.
        members: the positions of its tokens.
    """

    names: tuple[str, ...]
    special: tuple[bool, ...]
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    def sums(self, values: Tensor) -> Tensor:
        """Sums over each unit's tokens: ``[token]`` to ``[unit]``."""
        return torch.stack([values[list(members)].sum() for members in self.members])


def units_of(tokens: Tokens, unit: Unit) -> Units:
    """Pieces as they are, or put together into words; a special token is always a unit of its own."""
    if unit == "token":
        return Units(tokens.pieces, tokens.is_special, tuple((at,) for at in range(len(tokens))))
    if unit not in UNITS:
        raise InputError(f"Importance is given per {' or '.join(UNITS)}, not by {unit!r}.")
    members: dict[tuple[str, int], list[int]] = {}
    for at, word in enumerate(tokens.words):
        members.setdefault(("token", at) if word is None else ("word", word), []).append(at)
    return Units(
        names=tuple(tokens.word_texts[at] if kind == "word" else tokens.pieces[at] for kind, at in members),
        special=tuple(tokens.is_special[places[0]] for places in members.values()),
        members=tuple(map(tuple, members.values())),
    )


@dataclass(frozen=True, repr=False)
class TokenImportance(Result):
    """How important each token is, by one method.

    Attributes:
        tokens, scores: what was scored, in the order of the text; scores are shares that sum to one. Where a method is
            signed, they are shares of the absolute values.
        raw: the method's own numbers; below zero, where the method is signed, for what speaks against the target.
        method, title: the method's name, and what its numbers are.
        target: what was predicted, in words.
        unit: whether tokens are pieces or words.
        special: what was done with special tokens: "keep" scores them like all others; "apart" leaves them out of the
            sum and shows them beside it; "exclude" leaves them out altogether.
        special_share: the share of the whole that special tokens have (in the sum, or besides it).
        special_tokens: with "apart", each special token and its share of the whole.
        raw_of_all: the method's own numbers of all units, special tokens among them wherever they stand.
        notes: what else a reader should know, by name.
        places: of images and sounds, where each of ``tokens`` lies; empty for texts.
        media: the images or the sound.
    """

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    raw: tuple[float, ...]
    method: str
    title: str
    target: str
    unit: Unit
    special: Special
    special_share: float
    special_tokens: tuple[tuple[str, float], ...] = ()
    raw_of_all: tuple[float, ...] = ()
    model_name: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    places: tuple[Place | None, ...] = ()
    media: tuple[Image | Sound, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def table(self) -> pd.DataFrame:
        """One row per token: ``position, token, score, raw``."""
        import pandas as pd

        columns = {"token": self.tokens, "score": self.scores, "raw": self.raw}
        return pd.DataFrame({"position": range(len(self)), **columns})

    @property
    def special_handling(self) -> str:
        """One sentence: what became of the special tokens."""
        share = f"{self.special_share:.0%} of the whole"
        return {
            "keep": f"Special tokens are included and receive {share}.",
            "apart": f"Scores are shares of the text's own tokens; special tokens, shown apart, have {share}.",
            "exclude": f"Scores are shares of the text's own tokens; special tokens, left out, had {share}.",
        }[self.special]

    def heat(self, image: int = 0, *, smooth: int = 1) -> np.ndarray:
        """:attr:`raw` over the pixels of an image: float32 ``[row, column]``, NaN where no token lies.

        Args:
            image: which image, from 0.
            smooth: each cell gets the mean over a window of ``smooth`` × ``smooth`` cells around it.

        Raises:
            InputError: there is no image, or ``smooth`` is no odd number of at least 1.
            SelectionError: there is no such image.
        """
        places = self.places or (None,) * len(self)
        return spread(self.media, places, smoothed(places, self.raw, smooth), image)

    def facts(self) -> tuple[str, ...]:
        order = sorted(range(len(self)), key=lambda at: -self.scores[at])[:3]
        top = ", ".join(f"{self.tokens[at].strip()!r} {self.scores[at]:.2f}" for at in order)
        return f"by {self.method}, for {self.target}", f"{len(self)} {self.unit}s; highest: {top}"

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@renamed_arguments(values=ATTRIBUTION_VALUES)
def token_importance(
    loaded: LoadedModel,
    text: str | Pair | Media,
    *,
    method: str = "received",
    target: str | None = None,
    unit: Unit = "token",
    special: Special = "keep",
    truncate: bool = False,
) -> TokenImportance:
    """How important each token of a text is, by one method.

    Args:
        text: a text or a pair; for an encoder–decoder source and target, or a source alone, whose target the model
            writes itself. It is the source whose tokens are scored. Or images or a sound, whose cells are.
        method: one of :data:`.table.ATTRIBUTIONS`.
        target: what was predicted, written as in :data:`.choosing.TARGETS`; what the model was made for by default.
            Methods that describe attention do not depend on it, or only on where it is read.
        unit: "token", or "word" to sum the tokens of each word.
        special: what becomes of special tokens; see :class:`TokenImportance`.
        truncate: cut what the model has no positions for.

    Raises:
        InputError, TooLongError: the text or an option cannot be used.
        SelectionError: there is no such method, or no such target in this text.
        UnsupportedModelError: the method needs something that this model does not show.
    """
    chosen = attribution_named(method)
    check_options(unit, special)
    question = ask(loaded, text, target, truncate=truncate)
    return present(chosen, chosen.find(question), question, units_of(question.tokens, unit), unit, special)


def present(
    method: Attribution, found: RawAttribution, question: Question, units: Units, unit: Unit, special: Special
) -> TokenImportance:
    """What a method found, as shares of units."""
    raw = units.sums(found.raw.double())
    if bool(raw.isnan().any()):
        name = question.loaded.name or type(question.loaded.model).__name__
        raise CaptureError(
            f"{name} gives NaN on this text, so the importance of its tokens is unknown: check its weights and dtype."
        )
    sizes = raw.abs() if method.signed else raw
    is_special = torch.tensor(units.special)
    whole = float(sizes.sum())
    of_special = float(sizes[is_special].sum())
    shown = [at for at, flag in enumerate(units.special) if special == "keep" or not flag]
    if not shown:
        raise InputError(f"Only special tokens are in this text, and special={special!r} leaves them out.")
    total = float(sizes[shown].sum())
    scores = sizes[shown] / total if total > 0 else torch.full((len(shown),), 1 / len(shown), dtype=torch.double)
    notes = dict(found.notes)
    if total <= 0:
        notes["no_difference"] = "The method gives every token the same score."
    apart = [
        (units.names[at], float(sizes[at]) / whole if whole else 0.0) for at in is_special.nonzero()[:, 0].tolist()
    ]
    return TokenImportance(
        tokens=tuple(units.names[at] for at in shown),
        scores=tuple(scores.tolist()),
        raw=tuple(raw[shown].tolist()),
        method=method.name,
        title=method.title,
        target=question.target.label,
        unit=unit,
        special=special,
        special_share=of_special / whole if whole else 0.0,
        special_tokens=tuple(apart) if special == "apart" else (),
        raw_of_all=tuple(raw.tolist()),
        model_name=question.loaded.name,
        notes=notes,
        places=() if question.processed is None else tuple(_place(question.tokens, units.members[at]) for at in shown),
        media=() if question.processed is None else (*question.processed.images, *question.processed.sounds),
    )


def _place(tokens: Tokens, members: tuple[int, ...]) -> Place | None:
    return tokens.places[members[0]] if len(members) == 1 else None


def check_options(unit: str, special: str) -> None:
    """Refuse a unit or a handling of special tokens that is not there."""
    for label, value, known in (("unit", unit, UNITS), ("special", special, SPECIAL)):
        if value not in known:
            raise InputError(f"{label} must be one of {', '.join(known)}, not {value!r}.")
