"""From how a target is written, such as ``next= mat`` or ``mask:5``, to the target of one text and model."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.attribution.target import (
    ClassTarget,
    Layout,
    NumberTarget,
    RepresentationTarget,
    SequenceTarget,
    Target,
    VocabularyTarget,
    represented,
)
from attention_analyzer.errors import InputError, Option, SelectionError, UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel

#: How a target is written, and what it is. ``:K`` is a token's position, ``=X`` what is predicted there. Wherever a
#: token, class or tag is predicted, ``!=Y`` at the end asks why it is not Y: ``next=sat!=was``, ``class!=sad``.
TARGETS = {
    "next": "the model's most likely next token; next=X for any other token",
    "position:K": "the token at position K, as predicted from what comes before it; position:K=X for another one",
    "sequence": "all tokens, each predicted from what comes before it (of an encoder–decoder: the target text)",
    "mask": "the model's prediction for the text's mask token; mask=X for any other token",
    "mask:K": "the token at position K, which is masked first; mask:K=X for another one",
    "class": "the class that a text classifier chooses; class=X for another one",
    "token_class:K": "the tag that a token classifier gives the token at position K; token_class:K=X for another one",
    "pooled": "the text's representation: the mean of the last hidden states",
    "hidden:K": "the representation of the token at position K",
}
_WRITTEN = re.compile(r"([a-z_]+)(?::(-?\d+))?(?:=(.+?))?(?:!=(.+))?", re.DOTALL)
_NEED_PLACE, _TAKE_PLACE = {"position", "token_class", "hidden"}, {"position", "token_class", "hidden", "mask"}
_TAKE_WHAT = {"next", "position", "mask", "class", "token_class"}


@dataclass(frozen=True)
class ResolvedTarget:
    """A target, with the model and the inputs that it is a number of.

    Attributes:
        loaded: the model, or its part without a head where a representation is asked for.
        prepared: the inputs; with a token masked where that was asked for.
    """

    loaded: LoadedModel
    prepared: Prepared
    target: Target


@dataclass(frozen=True)
class _Asked:
    """A target as it was written."""

    kind: str
    place: int | None = None
    what: str | None = None
    against: str | None = None


def choose(loaded: LoadedModel, prepared: Prepared, written: str | None) -> ResolvedTarget:
    """The target of one text.

    Args:
        prepared: a batch of one text.
        written: one of :data:`TARGETS`; None for what the model was made for.

    Raises:
        InputError, SelectionError: it is written wrongly, or there is no such token, class or position.
        UnsupportedModelError: the model has no such output.
    """
    asked = _read(written)
    if asked is not None and asked.kind in ("pooled", "hidden"):
        return _representation(loaded, prepared, asked)
    if asked is not None and asked.kind == "mask" and asked.place is not None:
        return _masked(loaded, prepared, asked)
    outputs = _plain(loaded, prepared)
    asked = asked or _usual(loaded, prepared, outputs)
    if asked.kind == "pooled":
        return _representation(loaded, prepared, asked)
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor):
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} predicts nothing (it has no head), so there is no {asked.kind}",
            [_target("pooled"), _target("hidden:K")],
        )
    if asked.kind == "class":
        target = _class(loaded, logits, asked)
    elif asked.kind == "token_class":
        target = _tag(loaded, prepared, logits, asked)
    elif asked.kind == "sequence":
        target = _sequence(loaded, prepared, logits)
    else:
        target = _vocabulary(loaded, prepared, logits, asked)
    return ResolvedTarget(loaded, prepared, _contrasted(loaded, target, asked, logits))


def _contrasted(loaded: LoadedModel, target: Target, asked: _Asked, logits: Any) -> Target:
    """The target against another token, class or tag, where one is named."""
    if asked.against is None:
        return target
    if not isinstance(target, (VocabularyTarget, ClassTarget)):
        raise InputError(f"{target.label} has nothing to be contrasted with; leave {'!=' + asked.against!r} out.")
    if asked.kind in ("class", "token_class"):
        names = _labels(loaded, logits.shape[-1])
        other = _label(asked.against, names)
        shown = names[other]
    else:
        other = _entry(loaded, asked.against)
        shown = _shown(loaded, other)
    if other == target.entry:
        raise InputError(f"{target.label} is contrasted with itself; name another one after != than {shown!r}.")
    return replace(target, against=other, label=f"{target.label}, rather than {shown!r}")


def _read(written: str | None) -> _Asked | None:
    if written is None:
        return None
    match = _WRITTEN.fullmatch(written)
    kinds = {name.split(":")[0] for name in TARGETS}
    if match is None or match[1] not in kinds:
        raise InputError(f"There is no target {written!r}; targets are written {', '.join(TARGETS)}.")
    kind, place, what = match[1], None if match[2] is None else int(match[2]), match[3] or match[4]
    if (place is None and kind in _NEED_PLACE) or (place is not None and kind not in _TAKE_PLACE):
        wanted = "a position" if kind in _NEED_PLACE else "no position"
        raise InputError(f"The target {kind!r} takes {wanted}; targets are written {', '.join(TARGETS)}.")
    if what is not None and kind not in _TAKE_WHAT:
        sign = "=" if match[3] else "!="
        raise InputError(f"The target {kind!r} takes no {sign + what!r}; targets are written {', '.join(TARGETS)}.")
    return _Asked(kind, place, match[3], match[4])


def _usual(loaded: LoadedModel, prepared: Prepared, outputs: Any) -> _Asked:
    """What the model was made for."""
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor):
        return _Asked("pooled")
    if logits.dim() == 2:
        return _Asked("class")
    if loaded.architecture == "encoder-decoder":
        return _Asked("sequence")
    if loaded.architecture == "decoder":
        return _Asked("next")
    mask = getattr(loaded.tokenizer, "mask_token_id", None)
    return _Asked("mask") if mask is not None and mask in prepared.source[0].ids else _Asked("pooled")


def _plain(loaded: LoadedModel, prepared: Prepared) -> Any:
    with loaded.evaluating() as model, torch.no_grad():
        return model(**prepared.inputs)


def _representation(loaded: LoadedModel, prepared: Prepared, asked: _Asked) -> ResolvedTarget:
    if loaded.architecture == "encoder-decoder":
        raise UnsupportedModelError(
            f"{loaded.name} is an encoder–decoder; representation targets need a single stack",
            [_target("sequence"), _target("position:K")],
        )
    place = None if asked.place is None else _place(asked.place, len(prepared.source[0]), "token")
    headless = replace(loaded, model=getattr(loaded.model, "base_model", loaded.model))
    outputs = _plain(headless, prepared)
    if getattr(outputs, "last_hidden_state", None) is None:
        raise UnsupportedModelError(f"{type(headless.model).__name__} gives no hidden states of its tokens.")
    whole = Layout.whole(1, len(prepared.source[0]), loaded.device)
    vector = represented(outputs, whole, place)[0]
    label = "the text's representation (mean of all tokens)"
    if place is not None:
        label = f"the representation of {prepared.source[0].pieces[place]!r} at {place}"
    return ResolvedTarget(headless, prepared, RepresentationTarget(label, vector / vector.norm(), place))


def _masked(loaded: LoadedModel, prepared: Prepared, asked: _Asked) -> ResolvedTarget:
    """The token at a position is masked, and is itself what is asked for."""
    assert asked.place is not None
    mask = _mask_id(loaded)
    tokens = prepared.source[0]
    place = _place(asked.place, len(tokens), "token")
    ids = prepared.inputs["input_ids"].clone()
    entry = int(ids[0, place]) if asked.what is None else _entry(loaded, asked.what)
    ids[0, place] = mask
    pieces = (*tokens.pieces[:place], str(loaded.tokenizer.mask_token), *tokens.pieces[place + 1 :])
    changed = replace(prepared, inputs=prepared.inputs | {"input_ids": ids}, source=(replace(tokens, pieces=pieces),))
    logits = getattr(_plain(loaded, changed), "logits", None)
    _check_vocabulary(loaded, logits)
    label = f"{_shown(loaded, entry)!r} at {place}, which is masked"
    target = VocabularyTarget(label, place, entry, fixed=True)
    return ResolvedTarget(loaded, changed, _contrasted(loaded, target, asked, logits))


def _vocabulary(loaded: LoadedModel, prepared: Prepared, logits: Tensor, asked: _Asked) -> Target:
    """A token of the vocabulary: the next one, one that was written, or one in place of a mask."""
    _check_vocabulary(loaded, logits)
    axis = prepared.source[0] if prepared.target is None else prepared.target[0]
    moves = prepared.target is None
    if asked.kind == "mask":
        at = _only_mask(loaded, prepared)
        entry = int(logits[0, at].argmax()) if asked.what is None else _entry(loaded, asked.what)
        return VocabularyTarget(f"{_shown(loaded, entry)!r} in place of the mask at {at}", at, entry, moves, fixed=True)
    if loaded.architecture == "encoder":
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} sees the whole text at once and predicts no token from those before it",
            [_target("mask:K"), _target("pooled")],
        )
    if asked.kind == "next":
        at = len(axis) - 1
        entry = int(logits[0, at].argmax()) if asked.what is None else _entry(loaded, asked.what)
        return VocabularyTarget(f"the next token, {_shown(loaded, entry)!r}", at, entry, moves)
    assert asked.place is not None
    place = _place(asked.place, len(axis), "token")
    if place == 0:
        raise SelectionError(
            "Nothing comes before the token at position 0, so nothing predicts it; choose a later one."
        )
    entry = axis.ids[place] if asked.what is None else _entry(loaded, asked.what)
    return VocabularyTarget(f"{_shown(loaded, entry)!r} written at {place}", place - 1, entry, moves)


def _sequence(loaded: LoadedModel, prepared: Prepared, logits: Tensor) -> Target:
    _check_vocabulary(loaded, logits)
    if loaded.architecture == "encoder":
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} sees the whole text at once and gives it no probability",
            [_target("mask:K"), _target("pooled")],
        )
    axis = prepared.source[0] if prepared.target is None else prepared.target[0]
    if len(axis) < 2:
        raise InputError("A text of one token has none that is predicted from another; two tokens are needed.")
    whose = "the text" if prepared.target is None else f"{axis.text!r}"
    return SequenceTarget(
        f"{whose}, token by token", tuple(range(len(axis) - 1)), axis.ids[1:], moves=prepared.target is None
    )


def _class(loaded: LoadedModel, logits: Tensor, asked: _Asked) -> Target:
    if logits.dim() != 2:
        raise UnsupportedModelError(f"{type(loaded.model).__name__} gives no class to a whole text.")
    if logits.shape[1] == 1:
        return NumberTarget("the model's one output")
    names = _labels(loaded, logits.shape[1])
    entry = int(logits[0].argmax()) if asked.what is None else _label(asked.what, names)
    several = getattr(loaded.config, "problem_type", None) == "multi_label_classification"
    return ClassTarget(f"the class {names[entry]!r}", entry, exclusive=not several)


def _tag(loaded: LoadedModel, prepared: Prepared, logits: Tensor, asked: _Asked) -> Target:
    tokens = prepared.source[0]
    vocabulary = len(tokens) and logits.dim() == 3 and logits.shape[-1] == getattr(loaded.config, "vocab_size", None)
    if logits.dim() != 3 or vocabulary:
        raise UnsupportedModelError(f"{type(loaded.model).__name__} gives no tags to tokens.")
    assert asked.place is not None
    at = _place(asked.place, len(tokens), "token")
    names = _labels(loaded, logits.shape[-1])
    entry = int(logits[0, at].argmax()) if asked.what is None else _label(asked.what, names)
    return VocabularyTarget(f"the tag {names[entry]!r} of {tokens.pieces[at]!r} at {at}", at, entry, fixed=True)


def _check_vocabulary(loaded: LoadedModel, logits: Any) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} predicts no tokens",
            [_target("pooled"), _target("hidden:K"), _target("class")],
        )


def _place(place: int, size: int, what: str) -> int:
    if not -size <= place < size:
        raise SelectionError(f"There is no {what} {place}: there are {size}, numbered from 0 to {size - 1}.")
    return place % size


def _mask_id(loaded: LoadedModel) -> int:
    number = getattr(loaded.tokenizer, "mask_token_id", None)
    if number is None:
        raise UnsupportedModelError(f"The tokenizer of {loaded.name} has no mask token, so nothing can be masked.")
    return int(number)


def _target(form: str) -> Option:
    return Option("target", repr(form), "use {}")


def _only_mask(loaded: LoadedModel, prepared: Prepared) -> int:
    mask = _mask_id(loaded)
    places = [at for at, number in enumerate(prepared.source[0].ids) if number == mask]
    if len(places) != 1:
        raise InputError(
            f"The text has {len(places)} mask tokens ({loaded.tokenizer.mask_token}); the target mask needs "
            "exactly one",
            [_target("mask:K")],
        )
    return places[0]


def _entry(loaded: LoadedModel, what: str) -> int:
    """The vocabulary's number for a piece as it is written there, or for a word that is one piece."""
    tokenizer = loaded.tokenizer
    if what in tokenizer.get_vocab():
        return int(tokenizer.convert_tokens_to_ids(what))
    read = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in (f" {what.lstrip()}", what)]
    single = [ids[0] for ids in read if len(ids) == 1 and ids[0] != tokenizer.unk_token_id]
    if not single:
        raise SelectionError(f"{what!r} is not one token for {loaded.name} but {max(map(len, read))}; name one token.")
    return int(single[0])


def _shown(loaded: LoadedModel, entry: int) -> str:
    shown = loaded.tokenizer.decode([entry]).strip()
    return shown or str(loaded.tokenizer.convert_ids_to_tokens(entry))


def _labels(loaded: LoadedModel, size: int) -> list[str]:
    named = getattr(loaded.config, "id2label", None) or {}
    return [str(named.get(number, number)) for number in range(size)]


def _label(what: str, names: list[str]) -> int:
    if what in names:
        return names.index(what)
    if what.isdecimal() and int(what) < len(names):
        return int(what)
    raise SelectionError(f"There is no class {what!r}; the classes are {', '.join(names)}.")
