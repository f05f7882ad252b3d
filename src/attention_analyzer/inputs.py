"""From texts to the inputs of a model's forward, with the tokens that its axes show."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import ModelError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Kind, tower_of
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair, tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens

#: Tokens that an encoder–decoder may write where its target is not given.
LONGEST_TARGET = 128


@dataclass(frozen=True)
class Prepared:
    """A padded batch with the tokens on the axes of its sites.

    Attributes:
        inputs: of the model's forward, on its device.
        source: per text the tokens of the main text; ``target``: those of an encoder–decoder's decoder.
        source_length, target_length: padded lengths.
    """

    inputs: dict[str, Any]
    source: tuple[Tokens, ...]
    target: tuple[Tokens, ...] | None = None

    @property
    def source_length(self) -> int:
        return max(map(len, self.source))

    @property
    def target_length(self) -> int:
        return max(map(len, self.target or self.source))

    @property
    def valid(self) -> Tensor:
        """bool ``[text, token]`` of the main text; padding is on the right."""
        return valid_of(self.source)

    def axes(self, stack: str, kind: Kind) -> tuple[tuple[Tokens, ...], tuple[Tokens, ...]]:
        """Per text, the tokens of a site's queries and keys."""
        if self.target is None or (tower_of(stack) != "decoder" and kind == "self"):
            return self.source, self.source
        return self.target, self.target if kind == "self" else self.source


def prepare(loaded: LoadedModel, texts: Sequence[str | Pair], *, truncate: bool = False) -> Prepared:
    """Tokenize a batch and complete the inputs that the model asks for."""
    tokenizer = loaded.need_tokenizer()
    two_stacks = loaded.architecture == "encoder-decoder"
    targets = [text[1] if isinstance(text, tuple) else None for text in texts] if two_stacks else []
    sources = [text[0] if isinstance(text, tuple) else text for text in texts] if two_stacks else list(texts)
    tokenized = tokenize(tokenizer, sources, max_length=loaded.max_length, truncate=truncate)
    inputs: dict[str, Any] = dict(accepted(loaded.model, tokenized.inputs))
    target = None
    if two_stacks:
        rows = [_target_row(loaded, inputs, index, text) for index, text in enumerate(targets)]
        inputs["decoder_input_ids"] = _stacked(rows, _pad_id(loaded))
        inputs["decoder_attention_mask"] = _stacked([torch.ones_like(row) for row in rows], 0)
        inputs = accepted(loaded.model, inputs)
        target = tuple(tokens_of(loaded, row) for row in rows)
    return Prepared(loaded.to_device(inputs), tokenized.tokens, target)


def tokens_of(loaded: LoadedModel, ids: Tensor) -> Tokens:
    if loaded.tokenizer is None:
        return Tokens.positions(len(ids))
    return tokens_of_ids(loaded.tokenizer, ids.tolist())


def _target_row(loaded: LoadedModel, inputs: Mapping[str, Tensor], index: int, text: str | None) -> Tensor:
    """What the decoder reads: the start token, then the given target or what the model writes itself."""
    if text is None and loaded.can_generate:
        size = (
            int(inputs["attention_mask"][index].sum()) if "attention_mask" in inputs else inputs["input_ids"].shape[1]
        )
        alone = {name: value[index : index + 1, :size] for name, value in inputs.items()}
        return written_target(loaded, alone, max_new_tokens=LONGEST_TARGET)[0]
    start = torch.tensor([_start_id(loaded)])
    if text is None:
        return start
    encoded = loaded.need_tokenizer()(text_target=text, verbose=False)["input_ids"]
    ends = loaded.tokenizer.eos_token_id
    return torch.cat([start, torch.tensor([number for number in encoded if number != ends], dtype=torch.long)])


def written_target(loaded: LoadedModel, inputs: Mapping[str, Tensor], **options: Any) -> Tensor:
    """What an encoder–decoder writes, ``[1, token]``, without the token that ends it: no row follows that."""
    ids = generated_ids(loaded, inputs, **options)
    ends = loaded.tokenizer.eos_token_id
    return ids[:, :-1] if ids.shape[1] > 1 and int(ids[0, -1]) == ends else ids


def generated_ids(loaded: LoadedModel, inputs: Mapping[str, Tensor], **options: Any) -> Tensor:
    settings = {"do_sample": False, "num_beams": 1, "pad_token_id": _pad_id(loaded)} | options
    with loaded.evaluating() as model, torch.no_grad():
        result = model.generate(**loaded.to_device(dict(inputs)), **settings)  # type: ignore[operator]
    return (result if isinstance(result, Tensor) else result.sequences)[:1].cpu()


def _start_id(loaded: LoadedModel) -> int:
    for holder in (getattr(loaded.model, "generation_config", None), loaded.config):
        number = getattr(holder, "decoder_start_token_id", None)
        if number is not None:
            return int(number)
    for name in ("bos_token_id", "pad_token_id"):
        number = getattr(loaded.config, name, None)
        if number is not None:
            return int(number)
    raise ModelError(f"{loaded.name} names no token that a target starts with (decoder_start_token_id).")


def _pad_id(loaded: LoadedModel) -> int:
    for holder in (loaded.tokenizer, loaded.config):
        number = getattr(holder, "pad_token_id", None)
        if number is not None:
            return int(number)
    return 0


def _stacked(rows: Sequence[Tensor], fill: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def accepted(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those inputs that the model's forward names: a tokenizer may make more than a model of another kind reads."""
    names = inspect.signature(model.forward).parameters
    if "input_ids" not in names:
        return dict(inputs)
    return {name: value for name, value in inputs.items() if name in names}
