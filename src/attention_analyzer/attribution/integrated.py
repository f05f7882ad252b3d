from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.deletion import blank_id
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.target import Layout
from attention_analyzer.errors import MissingDependencyError, Option, UnsupportedModelError
from attention_analyzer.models.quantized import gradients_needed

#: Points on the way from nothing to the text, and how many of them run together.
STEPS, AT_ONCE = 50, 10


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Integrated gradients (Sundararajan, Taly & Yan 2017, eq. 1) by captum: the reference that needs no attention.

    From a text of blanks (the mask token, or the padding token where there is none; special tokens stay) to the text,
    in the space of embeddings. A token's numbers are summed over channels; over all tokens they sum to the difference
    of the target between the two, up to the error of the sum over steps, which the notes have.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "integrated gradients"
    follows_target: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    steps: int = STEPS

    def find(self, question: Question) -> RawAttribution:
        try:
            from captum.attr import IntegratedGradients as Captum
        except ImportError:
            raise MissingDependencyError("captum", "attribution", "The method integrated_gradients") from None
        embed = _embedding(question)
        if question.processed is not None:
            raise UnsupportedModelError(
                "Integrated gradients go through embeddings of text tokens, which cells of images and sounds have not",
                [Option("method", "'occlusion'", "use {}")],
            )
        ids = question.inputs["input_ids"]
        special = torch.tensor(question.tokens.is_special, device=ids.device)
        blank = torch.where(special, ids, blank_id(question.loaded))
        with torch.no_grad():
            text, nothing = embed(ids).detach(), embed(blank).detach()
        others = {name: value for name, value in question.inputs.items() if name != "input_ids"}

        def value(embeddings: Tensor) -> Tensor:
            rows = len(embeddings)
            given = {name: part.expand(rows, *part.shape[1:]) for name, part in others.items()}
            outputs = question.loaded.model(inputs_embeds=embeddings, **given)
            return question.target.values(outputs, Layout.whole(rows, ids.shape[1], ids.device))

        with question.loaded.evaluating() as model, gradients_needed(model):
            _check_same(question, value, text)
            found, error = Captum(value).attribute(
                text,
                nothing,
                n_steps=self.steps,
                internal_batch_size=question.loaded.at_once(AT_ONCE),
                return_convergence_delta=True,
            )
            with torch.no_grad():
                difference = float(value(text) - value(nothing))
        return RawAttribution(
            found[0].detach().sum(-1).double().cpu(),
            {"difference_to_blank_text": difference, "error_of_the_sum": float(error.sum())},
        )


def _embedding(question: Question) -> torch.nn.Module:
    model = question.loaded.model
    table: Any = getattr(model, "get_input_embeddings", None)
    embed = None if table is None else table()
    if embed is None:
        raise UnsupportedModelError(f"{type(model).__name__} has no table of embeddings to integrate over.")
    assert isinstance(embed, torch.nn.Module)
    return embed


def _check_same(question: Question, value: Callable[[Tensor], Tensor], text: Tensor) -> None:
    """Refuse a model that makes something else of given embeddings than of the tokens they belong to."""
    with torch.no_grad():
        try:
            found = float(value(text))
        except (TypeError, ValueError) as error:
            raise UnsupportedModelError(
                f"{type(question.loaded.model).__name__} takes no embeddings in place of tokens ({error})."
            ) from None
        expected = float(question.target.values(question.loaded.model(**question.inputs), question.whole))
    if abs(found - expected) > 1e-3 * max(1.0, abs(expected)):
        raise UnsupportedModelError(
            f"{type(question.loaded.model).__name__} makes {found:.4g} of the embeddings of a text of which it makes "
            f"{expected:.4g}, so a path through them does not lead to the text."
        )
