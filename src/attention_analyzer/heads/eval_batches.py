"""Texts made ready for trying heads out: inputs, and what the model should have said.

What is measured follows from the kind of model, and is always one number per text:

=====================  ==========================================================================================
decoder                mean cross-entropy of the text's next tokens, in nats
masked language model  mean cross-entropy of hidden tokens, in nats: 15 % of a text's tokens (at least one), the same
                       for the same seed, all replaced by the mask token
encoder–decoder        mean cross-entropy of the target's tokens, in nats; where only a source is given, of the target
                       that the model itself writes
classifier             cross-entropy of the label, in nats; without labels, of the class that the model itself predicts
no head                how far the mean hidden state moves from the untouched model's, ``‖after - before‖ / ‖before‖``:
                       a stand-in for a loss, which says what heads change and not what they are good for
=====================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError, ModelError, OnError, UnsupportedModelError
from attention_analyzer.inputs import Prepared, numbered_errors, prepare
from attention_analyzer.interventions.apply import run_altered
from attention_analyzer.interventions.call_index import CallIndex, observe
from attention_analyzer.interventions.prediction import Task, read_prediction
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import BATCH, batches
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import UsableTexts, usable_texts

#: Share of tokens that a masked language model has to guess.
MASKED = 0.15
_IGNORED = -100
_WORDS: dict[Task, str] = {
    "next token": "loss of the next token (nats)",
    "masked token": "loss of hidden tokens (nats)",
    "written token": "loss of the written token (nats)",
    "class": "loss of the class (nats)",
    "token class": "loss of the tokens' classes (nats)",
    "representation": "relative change of the mean hidden state",
}


@dataclass(frozen=True)
class Trial:
    """A batch of texts.

    Attributes:
        inputs: of the forward; ``order``: the calls of one.
        targets: what should be said: classes ``[text, position]`` (-100 where nothing is asked) or ``[text]``; for a
            representation the untouched mean hidden states ``[text, channel]``.
        valid: bool ``[text, position]`` of the outputs' axis, False for padding.
        prepared: the texts' tokens as the model reads them: those that it has to guess are hidden.
    """

    task: Task
    inputs: dict[str, Any]
    order: CallIndex
    targets: Tensor
    valid: Tensor
    prepared: Prepared

    @property
    def texts(self) -> int:
        return len(self.targets)

    def measure(self, outputs: Any) -> Tensor:
        """``[text]``: what :mod:`.trials` says for the kind of model; differentiable but for a representation."""
        if self.task == "representation":
            after = mean_state(outputs.last_hidden_state, self.valid)
            return (after - self.targets).norm(dim=-1) / self.targets.norm(dim=-1)
        logits = outputs.logits.float() if outputs.logits.dtype != torch.float64 else outputs.logits
        if self.targets.dim() == 1:
            return torch.nn.functional.cross_entropy(logits, self.targets, reduction="none")
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), self.targets, ignore_index=_IGNORED, reduction="none"
        )
        return losses.sum(-1) / (self.targets != _IGNORED).sum(-1)


def measured_in_words(task: Task) -> str:
    return _WORDS[task]


def mean_state(hidden: Tensor, valid: Tensor) -> Tensor:
    """``[text, channel]``: mean hidden state over a text's tokens, in float64."""
    counted = valid.to(hidden.device)[..., None]
    return (hidden.double() * counted).sum(1) / counted.sum(1)


def trials_of(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    *,
    labels: Sequence[int | str] | None = None,
    seed: int = 0,
    truncate: bool = False,
    batch_size: int = BATCH,
) -> list[Trial]:
    """The texts in batches, with what the model should say of each.

    Args:
        labels: a class per text, for a classifier.
        seed: of the tokens that a masked language model has to guess.

    Raises:
        InputError: there are no texts, or labels do not fit.
        UnsupportedModelError: the model's attention cannot be altered, or it predicts nothing that could be measured.
    """
    if isinstance(texts, (str, bytes)) or not texts:
        raise InputError("A list of at least one text was expected, to try heads out on.")
    if labels is not None and len(labels) != len(texts):
        raise InputError(f"{len(texts)} texts were given, but {len(labels)} labels; give one per text.")
    trials: list[Trial] = []
    for batch in batches(texts, loaded.at_once(batch_size)):
        first = sum(trial.texts for trial in trials)
        with numbered_errors(loaded, batch, count(first), truncate):
            prepared = prepare(loaded, batch, truncate=truncate)
        chosen = None if labels is None else labels[first : first + len(batch)]
        trials.append(_trial(loaded, prepared, chosen, seed, first, trials[0].order if trials else None))
    return trials


def usable_trials(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    labels: Sequence[int | str] | None = None,
    *,
    errors: OnError = "raise",
    truncate: bool = False,
) -> UsableTexts[str | Pair]:
    """The texts that heads can be tried out on; see :func:`.usable_texts`.

    Raises:
        InputError: no list of texts was given, the labels do not fit, or no text can be used.
    """
    if isinstance(texts, (str, bytes)) or not texts:
        raise InputError("A list of at least one text was expected, to try heads out on.")
    if labels is not None and len(labels) != len(texts):
        raise InputError(f"{len(texts)} texts were given, but {len(labels)} labels; give one per text.")
    if errors == "raise":
        return usable_texts(loaded, texts, errors=errors, truncate=truncate)
    return usable_texts(loaded, texts, errors=errors, check=lambda text: check_trial(loaded, text, truncate=truncate))


def check_trial(loaded: LoadedModel, text: str | Pair, *, truncate: bool = False) -> None:
    """Try one text, with its forward.

    Raises:
        InputError, TooLongError: it cannot be read, or there is nothing in it that the model could predict.
    """
    _trial(loaded, prepare(loaded, [text], truncate=truncate), None, 0, 0, None)


def _trial(
    loaded: LoadedModel,
    prepared: Prepared,
    labels: Sequence[int | str] | None,
    seed: int,
    first: int,
    order: CallIndex | None,
) -> Trial:
    inputs = dict(prepared.inputs)
    if order is None:
        order, outputs = observe(loaded, inputs, valid=prepared.valid.to(loaded.device))
    else:
        order = _with_lengths(order, prepared)
        outputs = run_altered(loaded, inputs, order, {})
    task = read_prediction(loaded, outputs).task
    if task not in _WORDS:
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} predicts a {task}, for which no loss is defined here; give a metric of "
            "your own, or load the model without its head."
        )
    if labels is not None and task != "class":
        raise InputError(f"Labels are of a classifier's texts, but {loaded.name} predicts the {task}.")
    tokens = prepared.target or prepared.source
    length = max(map(len, tokens))
    valid = torch.tensor([[index < len(each) for index in range(length)] for each in tokens], device=loaded.device)
    if task == "representation":
        return Trial(task, inputs, order, mean_state(outputs.last_hidden_state, valid), valid, prepared)
    if task == "class":
        targets = outputs.logits.argmax(-1) if labels is None else _classes(loaded, labels)
    elif task == "token class":
        targets = outputs.logits.argmax(-1).masked_fill(~valid, _IGNORED)
    elif task == "masked token":
        inputs["input_ids"], targets = _masked(loaded, prepared, seed, first)
        hidden = [(row != _IGNORED).tolist() for row in targets]
        source = tuple(each.hidden(flags, mask_of(loaded)) for each, flags in zip(prepared.source, hidden, strict=True))
        prepared = replace(prepared, inputs=inputs, source=source)
    else:
        targets = _following(inputs["decoder_input_ids" if prepared.target else "input_ids"], valid)
    return Trial(task, inputs, order, targets.to(loaded.device), valid, prepared)


def _with_lengths(order: CallIndex, prepared: Prepared) -> CallIndex:
    """The calls of a model, as long as this batch makes them."""
    shapes = {}
    for site in order.sites:
        queries, keys = prepared.axes(site.stack, site.kind)
        shapes[site.name] = (max(map(len, queries)), max(map(len, keys)))
    return replace(order, shapes=shapes)


def _following(ids: Tensor, valid: Tensor) -> Tensor:
    targets = torch.full_like(ids, _IGNORED)
    targets[:, :-1] = ids[:, 1:].masked_fill(~valid[:, 1:], _IGNORED)
    if bool((targets == _IGNORED).all(-1).any()):
        raise InputError("A text has only one token; at least two are needed to compute a loss.")
    return targets


def mask_of(loaded: LoadedModel) -> tuple[int, str]:
    """The mask token's id and text.

    Raises:
        ModelError: the tokenizer has none.
    """
    tokenizer = loaded.need_tokenizer()
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None:
        raise ModelError(f"{loaded.name} has no mask token, so no tokens can be masked for the loss.")
    return int(mask), str(tokenizer.mask_token)


def _masked(loaded: LoadedModel, prepared: Prepared, seed: int, first: int) -> tuple[Tensor, Tensor]:
    mask, _ = mask_of(loaded)
    ids = prepared.inputs["input_ids"].clone()
    targets = torch.full_like(ids, _IGNORED)
    for row, tokens in enumerate(prepared.source):
        # A text hides the same tokens whatever batch it is in.
        draws = torch.Generator().manual_seed(seed * 1_000_003 + first + row)
        plain = [index for index, special in enumerate(tokens.is_special) if not special]
        if not plain:
            raise InputError("A text has only special tokens, so no token can be masked for the loss.")
        count = max(1, round(MASKED * len(plain)))
        hidden = [plain[index] for index in torch.randperm(len(plain), generator=draws)[:count].tolist()]
        targets[row, hidden] = ids[row, hidden]
        ids[row, hidden] = mask
    return ids, targets


def _classes(loaded: LoadedModel, labels: Sequence[int | str]) -> Tensor:
    names = {str(name): int(number) for number, name in (getattr(loaded.config, "id2label", None) or {}).items()}
    numbers = []
    for label in labels:
        number = names.get(label) if isinstance(label, str) else int(label)
        if number is None or not 0 <= number < max(len(names), 1):
            raise InputError(f"There is no class {label!r}; the classes are {', '.join(names)}.")
        numbers.append(number)
    return torch.tensor(numbers, device=loaded.device)
