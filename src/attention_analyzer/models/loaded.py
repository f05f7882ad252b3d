"""A model with what turns text into its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attention_analyzer.errors import (
    InputError,
    MissingDependencyError,
    ModelError,
    Option,
    TooLongError,
    UnsupportedModelError,
)
from attention_analyzer.models.eval_mode import eval_mode
from attention_analyzer.models.fingerprint import cached_fingerprint
from attention_analyzer.models.offload import input_device, on_several_devices
from attention_analyzer.models.structure import modules, named_modules, own_modules_kept
from attention_analyzer.models.unwrapping import virtual_tokens

#: Other names of limits, which count only where a table of positions is as long.
_LIMITS = (
    "n_positions", "n_ctx", "max_source_positions", "max_encoder_position_embeddings", "max_sequence_length",
    "max_seq_length", "seq_length",
)  # fmt: skip
_TARGET_LIMITS = ("max_decoder_position_embeddings", "n_positions", "n_ctx")
_POSITIONS = re.compile(r"pos|^wpe$")
#: Rows of a table of positions that no token of a text has.
_OFFSET = 2
Architecture = Literal["encoder", "decoder", "encoder-decoder"]


@dataclass(frozen=True)
class LoadedModel:
    """A model and its tokenizer, as every analysis takes them.

    Attributes:
        model: the transformers model, in whatever mode and attention implementation its owner gave it.
        tokenizer: a tokenizer of any kind, or None where there is no text (vision, audio).
        name: what it was asked for as.
        tokenizer_problem: why the checkpoint's tokenizer could not be loaded, where that was so.
        keep_on: where recorded queries and keys are kept, if not where the model computed them.
        wrappers: class names of what the model was taken out of, outermost first.
        processor: what turns images, sound and text into inputs, if it was given; see :meth:`need_processor`.
        source: the folder or hub id that the model was read from, or "".
    """

    model: nn.Module
    tokenizer: Any = None
    name: str = ""
    tokenizer_problem: str = ""
    keep_on: torch.device | None = None
    wrappers: tuple[str, ...] = ()
    processor: Any = None
    source: str = ""

    @property
    def config(self) -> Any:
        """The model's configuration; an empty one where the model has none."""
        return getattr(self.model, "config", None) or _NoConfig()

    @property
    def device(self) -> torch.device:
        """Where inputs belong: the device of the model's first part."""
        return input_device(self.model)

    @property
    def store(self) -> torch.device | None:
        """Where recorded queries and keys are kept; None: where each was computed.

        Those of a model on several devices go to main memory, so that sites can be compared.
        """
        return torch.device("cpu") if self.keep_on is None and on_several_devices(self.model) else self.keep_on

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating parameter."""
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    @property
    def fingerprint(self) -> str:
        """A hash of weights and configuration; computed anew when the model has changed."""
        return cached_fingerprint(self.model)

    @property
    def architecture(self) -> Architecture:
        """Whether tokens see only what came before ("decoder"), everything, or there are two stacks."""
        if getattr(self.config, "is_encoder_decoder", False):
            return "encoder-decoder"
        name = type(self.model).__name__
        causal = getattr(self.config, "is_decoder", False) or name.endswith(("ForCausalLM", "LMHeadModel"))
        # A language model that reads images, too, is called ForConditionalGeneration and has one stack for the text.
        return "decoder" if causal or self.can_generate or self._base_is_causal else "encoder"

    @cached_property
    def _base_is_causal(self) -> bool:
        """Base models of causal families (GPT2Model, LlamaModel) say so at their attention modules."""
        attention = (module for module in modules(self.model) if "Attention" in type(module).__name__)
        known = [flag for module in attention if isinstance(flag := getattr(module, "is_causal", None), bool)]
        return bool(known) and all(known)

    @property
    def can_generate(self) -> bool:
        """Whether the model writes text by itself."""
        check = getattr(self.model, "can_generate", None)
        return bool(check()) if callable(check) else False

    @property
    def virtual_tokens(self) -> int:
        """How many learned tokens without a text the model puts before every text."""
        return virtual_tokens(self.model)

    @property
    def max_length(self) -> int | None:
        """How many tokens the model has positions for; None where positions are relative and unbounded."""
        limit = self._positions
        return None if limit is None else limit - self.virtual_tokens

    @property
    def _positions(self) -> int | None:
        encoder: Any = getattr(self.config, "encoder", None)  # of two models that were put together
        config = encoder if hasattr(encoder, "get_text_config") else self.config
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        named = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        positions = next((number for number in named if isinstance(number, int) and number > 0), None)
        if positions is None:
            return self._limit_of_table(config, _LIMITS)
        found = next(filter(None, map(_position_embeddings, modules(self.model))), None)
        if found is None:
            return positions
        # RoBERTa and its kin number positions from just after the padding index.
        return min(positions, found.num_embeddings) - (0 if found.padding_idx is None else found.padding_idx + 1)

    @property
    def max_target_length(self) -> int | None:
        """How many tokens the decoder of an encoder–decoder has positions for; None where they are unbounded."""
        limit = getattr(self.config, "max_target_positions", None)
        if isinstance(limit, int):
            return limit
        decoder = getattr(self.config, "decoder", None)
        config = decoder if hasattr(decoder, "get_text_config") else self.config
        limit = getattr(config, "max_position_embeddings", None)
        if isinstance(limit, int):
            return limit
        return self._limit_of_table(config, _TARGET_LIMITS) or self.max_length

    def _limit_of_table(self, config: Any, names: tuple[str, ...]) -> int | None:
        """A limit by one of these names, if a table of positions is as long; models name other things so, too."""
        sizes = {
            module.num_embeddings
            for name, module in named_modules(self.model)
            if isinstance(module, nn.Embedding) and _POSITIONS.search(name.rpartition(".")[2])
        }
        for number in (getattr(config, name, None) for name in names):
            # Some tables have a few rows more, for an offset.
            if isinstance(number, int) and any(0 <= size - number <= _OFFSET for size in sizes):
                return number
        return None

    @property
    def pad_id(self) -> int:
        """What fills up the shorter texts of a batch: the padding that the model looks for, else the tokenizer's."""
        text = self.config.get_text_config() if hasattr(self.config, "get_text_config") else self.config
        for holder in (text, self.config, self.tokenizer):
            number = getattr(holder, "pad_token_id", None)
            if isinstance(number, int) and number >= 0:
                return number
        return 0

    def at_once(self, most: int) -> int:
        """How many texts may run together, of ``most``.

        A decoder that classifies reads the last token that is no padding; one that knows no padding takes single texts.
        """
        text = self.config.get_text_config() if hasattr(self.config, "get_text_config") else self.config
        reads_last = self.architecture == "decoder" and type(self.model).__name__.endswith("ForSequenceClassification")
        return 1 if reads_last and getattr(text, "pad_token_id", None) is None else most

    def check_no_virtual_tokens(self) -> None:
        """Raises UnsupportedModelError for a model that puts learned tokens before every text."""
        if self.virtual_tokens:
            raise UnsupportedModelError(
                f"{self.name or type(self.model).__name__} puts {self.virtual_tokens} learned virtual tokens before "
                "every text, which record(text), generate() and capture() show, but this analysis cannot place; pass "
                "model.get_base_model() to analyze the model without them."
            )

    def check_ids(self, inputs: Mapping[str, Any]) -> None:
        """Refuse ids that the model has no position or no embedding for, before its forward meets them.

        Args:
            inputs: of the forward; ``input_ids`` and ``decoder_input_ids`` ``[text, token]`` are looked at.

        Raises:
            TooLongError: there are more tokens than positions.
            InputError: an id lies outside the embedding, or a mask is shorter than its text.
        """
        for name, mask_name in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
            ids, mask = inputs.get(name), inputs.get(mask_name)
            if (
                not isinstance(ids, Tensor)
                or ids.dim() != 2
                or ids.is_floating_point()
                or ids.is_complex()
                or not ids.numel()
            ):
                continue
            if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] < ids.shape[1]:
                raise InputError(
                    f"{mask_name} is for {mask.shape[1]} tokens, but {name} has {ids.shape[1]}; give both as the "
                    "tokenizer returned them."
                )
            limit = self.max_length if name == "input_ids" else self.max_target_length
            if limit is not None and ids.shape[1] > limit:
                raise TooLongError(
                    f"{name} has {ids.shape[1]} tokens, but the model has positions for {limit}; shorten the text or "
                    "tokenize it with truncation."
                )
            table = _embedding(self.model if name == "input_ids" else _decoder(self.model))
            # An embedding with parts of its own (such as rows for added tokens) takes other ids, too.
            plain = isinstance(table, nn.Embedding) and len(list(table.parameters())) == 1
            size = table.num_embeddings if plain else None
            if ids.is_meta:
                raise InputError(f"{name} lies on torch's meta device and holds no ids; give them on {self.device}.")
            alone = not any(isinstance(value, Tensor) and value.is_floating_point() for value in inputs.values())
            if size is not None and alone and int(ids.min()) < 0:  # beside images some stand for what is no token
                raise InputError(f"{name} holds {int(ids.min())}, but ids of tokens are numbers from 0.")
            if size is not None and int(ids.max()) >= size:
                part = "embedding" if name == "input_ids" else "decoder's embedding"
                raise InputError(
                    f"The token id {int(ids.max())} lies outside the model's {part}, which has {size} rows; use the "
                    "model's own tokenizer, or resize the embedding with model.resize_token_embeddings(len(tokenizer))."
                )

    def need_tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            ModelError: there is none.
        """
        if self.tokenizer is None:
            reason = f" ({self.tokenizer_problem})" if self.tokenizer_problem else ""
            raise ModelError(
                f"{self.name or type(self.model).__name__} has no tokenizer{reason}, so it cannot read text",
                [Option("tokenizer"), Option("inputs", "…", "pass processor {}")],
            )
        return self.tokenizer

    def need_processor(self) -> Any:
        """The processor of images, sound and text: the one that was given, else the checkpoint's own.

        Raises:
            ModelError: there is none.
            MissingDependencyError: it needs a package that is not installed.
        """
        processor, problem = self._own_processor
        if processor is None:
            reason = f" ({problem})" if problem else ""
            raise ModelError(
                f"{self.name or type(self.model).__name__} has no processor{reason}, so it reads texts only; pass "
                "processor=… for a model of images or sound."
            )
        return processor

    @cached_property
    def _own_processor(self) -> tuple[Any, str]:
        if self.processor is not None or not self.source:
            return self.processor, ""
        from transformers import AutoProcessor

        try:
            found = AutoProcessor.from_pretrained(self.source, local_files_only=True)
        except ImportError as error:
            raise MissingDependencyError(error.name or "pillow", "vision", "The model's processor") from error
        except Exception as error:  # noqa: BLE001 (a dozen kinds of error say the same: no processor here)
            return None, " ".join(str(error).split())[:200]
        return (found, "") if is_processor(found) else (None, "")

    def to_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs on the model's device; floating ones in its dtype."""
        moved = {}
        for name, value in inputs.items():
            if isinstance(value, Tensor):
                value = value.to(self.device, self.dtype) if value.is_floating_point() else value.to(self.device)
            moved[name] = value
        return moved

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model without dropout; each module's mode is put back when the last of all threads is done with it."""
        with own_modules_kept(self.model), eval_mode(self.model):
            yield self.model

    def check_head(self, layer: int, head: int) -> None:
        """Refuse a layer or head that the configuration rules out, before any work is done.

        Raises:
            InputError: there is no such layer or head.
        """
        for label, value, size in (
            ("layer", layer, getattr(self.config, "num_hidden_layers", None)),
            ("head", head, getattr(self.config, "num_attention_heads", None)),
        ):
            if isinstance(size, int) and not 0 <= value < size:
                raise InputError(f"There is no {label} {value}: {self.name} has {size}, numbered from 0 to {size - 1}.")


def is_processor(candidate: Any) -> bool:
    """Whether an object processes images or sound, alone or beside texts."""
    return any(
        hasattr(candidate, name) for name in ("image_processor", "feature_extractor", "sampling_rate", "do_normalize")
    )


def _position_embeddings(module: nn.Module) -> nn.Embedding | None:
    """The table of learned positions that a module holds."""
    tables = (part for name, part in module.named_children() if name.endswith("position_embeddings"))
    return next((table for table in tables if isinstance(table, nn.Embedding)), None)


def _embedding(part: Any) -> Any:
    """The table of token embeddings, where a model says which it is."""
    find = getattr(part, "get_input_embeddings", None)
    try:
        return find() if callable(find) else None
    except (NotImplementedError, AttributeError):
        return None


def _decoder(model: nn.Module) -> Any:
    find = getattr(model, "get_decoder", None)
    try:
        return find() if callable(find) else None
    except (NotImplementedError, AttributeError):
        return None


class _NoConfig:
    """Stands for the configuration of a model that has none: every setting is absent."""
