"""What a model predicts, read from its outputs in one form for every kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, InputError, SelectionError, UnsupportedModelError
from attention_analyzer.models.loaded import LoadedModel

#: What the outputs are about. "next token": a decoder's; "masked token": an encoder with a language-model head;
#: "written token": an encoder–decoder's; "class" and "token class": a classifier's; "value": a regression's;
#: "representation": the last hidden state of a model without a head.
Task = Literal["next token", "masked token", "written token", "class", "token class", "value", "representation"]


@dataclass(frozen=True)
class Prediction:
    """The outputs for one text.

    Attributes:
        task: what they are about.
        values: log-probabilities ``[position, label]`` in nats (one position for a class), float64; hidden states
            ``[position, channel]`` for a representation; ``[1, value]`` for a regression.
        independent: labels of which several may hold (a multi-label classifier): values are then log-probabilities of
            each label alone.
    """

    task: Task
    values: Tensor
    independent: bool = False

    @property
    def is_distribution(self) -> bool:
        return self.task not in ("value", "representation")


def read_prediction(loaded: LoadedModel, outputs: Any) -> Prediction:
    """The prediction of a forward of one text.

    Raises:
        UnsupportedModelError: the outputs hold neither logits nor a last hidden state.
        CaptureError: the model's outputs are not numbers.
    """
    prediction = _read(loaded, outputs)
    if bool(prediction.values.isnan().any()):
        raise CaptureError(
            f"{loaded.name or type(loaded.model).__name__} predicts NaN on this text, so no change can be measured: "
            "check its weights and dtype."
        )
    return prediction


def _read(loaded: LoadedModel, outputs: Any) -> Prediction:
    logits = getattr(outputs, "logits", getattr(outputs, "prediction_logits", None))
    if logits is None:
        hidden = getattr(outputs, "last_hidden_state", None)
        if hidden is None or hidden.dim() != 3:
            raise UnsupportedModelError(
                f"{type(loaded.model).__name__} gives neither logits nor a last hidden state, so no change of its "
                "prediction can be measured; load it with a language-model or classification head, or without any."
            )
        return Prediction("representation", hidden[0].double().cpu())
    task = task_of(loaded, logits)
    values = logits[0].double().cpu()
    if logits.dim() == 2:
        values = values[None]
    if task == "value":
        return Prediction(task, values)
    if task == "class" and getattr(loaded.config, "problem_type", None) == "multi_label_classification":
        return Prediction(task, torch.nn.functional.logsigmoid(values), independent=True)
    return Prediction(task, values.log_softmax(-1))


def task_of(loaded: LoadedModel, logits: Tensor) -> Task:
    """What logits ``[batch, label]`` or ``[batch, position, label]`` are about.

    Raises:
        UnsupportedModelError: they have other axes.
    """
    if logits.dim() == 2:
        return "value" if logits.shape[-1] == 1 else "class"
    if logits.dim() != 3:
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} gives logits of shape {tuple(logits.shape)}; [batch, label] or "
            "[batch, position, label] was expected."
        )
    if "TokenClassification" in type(loaded.model).__name__:
        return "token class"
    return {"decoder": "next token", "encoder": "masked token", "encoder-decoder": "written token"}[loaded.architecture]  # type: ignore[return-value]


def label_name(loaded: LoadedModel, task: Task, number: int) -> str:
    """A label as a person reads it."""
    if task in ("class", "token class"):
        names = getattr(loaded.config, "id2label", None) or {}
        return str(names.get(number, number))
    if task in ("value", "representation") or loaded.tokenizer is None:
        return str(number)
    shown = loaded.tokenizer.decode([number]).strip()
    if shown and "\ufffd" not in shown:
        return str(shown)
    raw = loaded.tokenizer.convert_ids_to_tokens([number])[0]
    return str(number if raw is None else raw)


def label_number(loaded: LoadedModel, prediction: Prediction, target: str | int) -> int:
    """The label that a caller means: its number, its name, or a text that is one token.

    Raises:
        SelectionError: there is no such label.
        InputError: a text is several tokens.
    """
    size = prediction.values.shape[-1]
    if isinstance(target, int):
        if not 0 <= target < size:
            raise SelectionError(f"There is no label {target}; they are numbered from 0 to {size - 1}.")
        return int(target)
    if prediction.task in ("class", "token class"):
        names = {label_name(loaded, prediction.task, number): number for number in range(size)}
        if target not in names:
            raise SelectionError(f"There is no class {target!r}; the classes are {', '.join(list(names)[:20])}.")
        return names[target]
    return _token_number(loaded, prediction, target)


def _token_number(loaded: LoadedModel, prediction: Prediction, target: str) -> int:
    tokenizer = loaded.need_tokenizer()
    # A word inside a text often is another token than at its beginning, so the one after a space is meant first.
    tries = [target] if target.startswith(" ") or prediction.task == "masked token" else [f" {target}", target]
    for shown in tries:
        ids = tokenizer(shown, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            return int(ids[0])
    raise InputError(f"{target!r} is not one token of {loaded.name}; name a word or piece that is, or its number.")
