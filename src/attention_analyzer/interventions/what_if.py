"""What would the model say if some of its attention were otherwise? One forward as it is, one with the change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attention_analyzer.deprecation import renamed_arguments
from attention_analyzer.errors import InputError
from attention_analyzer.inputs import prepare
from attention_analyzer.interventions.apply import run_altered
from attention_analyzer.interventions.call_index import observe
from attention_analyzer.interventions.edges import KnockOut
from attention_analyzer.interventions.means import MeanOutputs, mean_outputs
from attention_analyzer.interventions.part_edges import with_positions
from attention_analyzer.interventions.plan import Ablation, Replacements, Request, plan_of
from attention_analyzer.interventions.prediction import read_prediction
from attention_analyzer.interventions.result import WhatIf, compare
from attention_analyzer.interventions.selection import Selector
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokenization import Pair, tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    from attention_analyzer.captured import CapturedAttention


@renamed_arguments(names={"silence": "ablate", "silence_with": "ablation", "replace": "patch"})
def what_if(
    loaded: LoadedModel,
    text: str | Pair | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    knock_out: str | KnockOut | Iterable[str | KnockOut] = (),
    ablate: Selector | Iterable[Selector] = (),
    patch: Replacements | None = None,
    ablation: Ablation = "zero",
    reference: Sequence[str | Pair] = (),
    target: str | int | None = None,
    position: int | None = None,
    truncate: bool = False,
) -> WhatIf:
    """The model's prediction before and after changing what heads may look at. The model itself stays as it is.

    Heads are named as in :mod:`.selection` (``"L2H5"``, ``"decoder.cross.L1"``, ``(2, 5)``).

    Args:
        text: a text or a pair; for an encoder–decoder a source, or source and target.
        inputs: instead of text, inputs of the forward for one text, image or sound.
        knock_out: edges such as ``"L2H5:7>3"`` (query 7 may not look at key 3): hidden before the softmax, so that
            the row renormalizes over the keys that are left. With none left the head gives that query nothing. Parts
            may be named, too: ``"answer>document 2"``, ``"L2:sentence 3>sentence 1"``; see :mod:`.part_edges`.
        ablate: heads whose output is replaced for every query: by zero, or by the head's mean output.
        patch: heads that use another pattern on their own values: ``"uniform"`` (the same weight on all keys that a
            query sees), ``"first"`` (all weight on the first of them), a text of the same length in tokens or a
            record of one (the head's weights there), or weights ``[query, key]``.
        ablation: "zero" or "mean".
        reference: texts over whose tokens the mean is taken; by default the text itself.
        target: the label whose probability is followed: a token, a class name or a number; by default the most
            probable one before the change.
        position: where the prediction is read; by default the last token of a decoder, the first mask of a masked
            language model, and otherwise where the distribution changes most.
        truncate: cut what the model has no positions for, instead of refusing it.

    Raises:
        InputError: an argument cannot be used; SelectionError: a head, position or label is not there.
        UnsupportedModelError: attention outside the library's interface, which can be looked at but not altered.
    """
    if (text is None) == (inputs is None):
        raise InputError("Give either a text or inputs=…, and not both.")
    loaded.check_no_virtual_tokens()
    if text is not None:
        knock_out = _with_positions(loaded, text, knock_out, truncate)
    request = Request.of(knock_out, ablate, patch, ablation)
    if reference and ablation != "mean":
        raise InputError("reference=… gives the texts of a mean output; pass ablation='mean' with it.")
    if inputs is None:
        assert text is not None
        prepared = prepare(loaded, [text], truncate=truncate)
        tensors, tokens = prepared.inputs, (prepared.target or prepared.source)[0]
    else:
        tensors = loaded.to_device({name: torch.as_tensor(value) for name, value in inputs.items()})
        tokens = _tokens(loaded, tensors)
    order, outputs = observe(loaded, tensors)
    before = read_prediction(loaded, outputs)
    means = None
    if request.ablate and ablation == "mean":
        if reference:
            means = mean_outputs(loaded, reference)
        else:
            means = MeanOutputs()
            means.add(loaded, tensors, order)
    plan = plan_of(request, order, loaded, means)
    after = read_prediction(loaded, run_altered(loaded, tensors, order, plan))
    axis = tokens if len(tokens) == len(before.values) else Tokens.positions(len(before.values))
    return compare(loaded, before, after, axis, request.described, target=target, position=position)


def _with_positions(
    loaded: LoadedModel, text: str | Pair, knock_out: str | KnockOut | Iterable[str | KnockOut], truncate: bool
) -> str | KnockOut | list[str | KnockOut]:
    """Edges between parts by name, with the positions of the text's tokens."""
    edges = [knock_out] if isinstance(knock_out, (str, KnockOut)) else list(knock_out)
    if not any(isinstance(edge, str) for edge in edges) or loaded.tokenizer is None:
        return edges
    source = text[0] if isinstance(text, tuple) and loaded.architecture == "encoder-decoder" else text
    tokenized = tokenize(loaded.tokenizer, [source], max_length=loaded.max_length, truncate=truncate)
    return with_positions(edges, tokenized.tokens[0])


def what_if_of_record(record: CapturedAttention, loaded: LoadedModel | None, **options: Any) -> WhatIf:
    """:func:`what_if` on the very tokens of a record.

    Args:
        loaded: the model; by default the one that made the record in this process.

    Raises:
        InputError: the record was read from a file and no model is given, or it is another model's.
    """
    origin = record.origin
    if loaded is None and origin is None:
        raise InputError(
            "This record has no model attached (it was loaded from a file or built from weights); "
            "pass analyzer=… with its model."
        )
    chosen = loaded or (origin.loaded if origin else None)
    assert chosen is not None
    if record.fingerprint and record.fingerprint != chosen.fingerprint:
        raise InputError(
            f"The record is of {record.model_name or 'a model'} with other weights or configuration than "
            f"{chosen.name or 'the given model'}; pass analyzer=… of the model that made it."
        )
    if "knock_out" in options:
        written = record.notes.get("prompt_tokens") if len(record.stacks) == 1 else None
        options["knock_out"] = with_positions(options["knock_out"], record.target_tokens, written)
    if origin is not None and origin.inputs is not None:
        return what_if(chosen, inputs=origin.inputs, **options)
    return what_if(chosen, inputs=inputs_of_record(record, chosen), **options)


def inputs_of_record(record: CapturedAttention, loaded: LoadedModel) -> dict[str, Tensor]:
    """Inputs of a forward that has the record's tokens.

    Raises:
        InputError: the record's tokens are no tokens of a vocabulary.
    """
    tokens, target = record.tokens, record.target_tokens
    two_stacks = loaded.architecture == "encoder-decoder"
    if not tokens.ids or (two_stacks and not target.ids):
        raise InputError("This record's tokens have no vocabulary ids, so the model cannot be run on them again.")
    ids = torch.tensor([tokens.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    made = prepare(loaded, [_as_text(tokens)], truncate=True).inputs if tokens.texts and not two_stacks else {}
    if "token_type_ids" in made and torch.equal(made["input_ids"].cpu(), ids):
        inputs["token_type_ids"] = made["token_type_ids"]
    if two_stacks:
        written = torch.tensor([target.ids])
        inputs |= {"decoder_input_ids": written, "decoder_attention_mask": torch.ones_like(written)}
    names = accepted_names(loaded)
    return {name: value for name, value in inputs.items() if names is None or name in names}


def accepted_names(loaded: LoadedModel) -> frozenset[str] | None:
    """The arguments of the model's forward; None where it does not name them."""
    import inspect

    names = frozenset(inspect.signature(loaded.model.forward).parameters)
    return names if "input_ids" in names else None


def _as_text(tokens: Tokens) -> str | Pair:
    return (tokens.texts[0], tokens.texts[1]) if len(tokens.texts) == 2 else tokens.texts[0]


def _tokens(loaded: LoadedModel, inputs: Mapping[str, Any]) -> Tokens:
    """What the outputs' positions show."""
    for name in ("decoder_input_ids", "input_ids"):
        ids = inputs.get(name)
        if isinstance(ids, Tensor) and ids.dim() == 2:
            if ids.shape[0] != 1:
                raise InputError(f"{name} has the shape {tuple(ids.shape)}, but one text [1, token] was expected.")
            if loaded.tokenizer is not None:
                return tokens_of_ids(loaded.tokenizer, ids[0].tolist())
            return Tokens.positions(ids.shape[1])
    return Tokens.positions(0)
