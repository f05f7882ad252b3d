"""From texts to the inputs of a model's forward, with the tokens that its axes show."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from attention_analyzer.errors import InputError, ModelError, Option, TooLongError
from attention_analyzer.given_inputs import SOURCE, TARGET, ids_argument
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.own_errors import named_errors
from attention_analyzer.models.signatures import forward_parameters
from attention_analyzer.site import Kind, tower_of
from attention_analyzer.text.chat import Messages, is_messages
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair, check_text, special_token_ids, tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens

#: What one text may be given as: itself, a pair, the messages of a chat, or a mapping with its ids ``[1, token]``.
Text: TypeAlias = str | Pair | Messages | Mapping[str, Any]
#: Ends of the names of encoder–decoders whose decoder reads the source once more, to classify it or to find an answer.
_READ_TWICE = ("ForSequenceClassification", "ForQuestionAnswering")
#: Tokens that an encoder–decoder may write where its target is not given.
LONGEST_TARGET = 128
#: How much of a text is quoted to say which it is.
FIRST_CHARACTERS = 40


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


def prepare(
    loaded: LoadedModel, texts: Sequence[Text], *, truncate: bool = False, virtual_tokens: bool = False
) -> Prepared:
    """Tokenize a batch, or join ids that were given, and complete the inputs that the model asks for.

    Args:
        texts: texts or pairs; or mappings with the ids of one text each, without padding, as
            :func:`.given_inputs.single_texts` makes them.
        virtual_tokens: whether the caller can place learned tokens before the text.

    Raises:
        UnsupportedModelError: the model has such tokens, and the caller cannot.
        InputError, TooLongError: a text cannot be used.
    """
    if not virtual_tokens:
        loaded.check_no_virtual_tokens()
    if any(isinstance(text, Mapping) for text in texts):
        return _prepared_rows(loaded, texts)
    read: list[str | Pair | Messages] = [text for text in texts if not isinstance(text, Mapping)]
    return _prepared_texts(loaded, read, truncate)


@contextmanager
def numbered_errors(
    loaded: LoadedModel, texts: Sequence[Text], numbers: Iterable[int], truncate: bool
) -> Iterator[None]:
    """Around the work on some of many texts: an error about one of them says which.

    Args:
        numbers: of these texts in the caller's list.

    Raises:
        InputError, TooLongError: with the text's number, counted from 0, and its first characters.
    """
    try:
        yield
    except InputError as error:
        for number, text in zip(numbers, texts, strict=False):
            try:
                prepare(loaded, [text], truncate=truncate, virtual_tokens=True)
            except InputError as own:
                raise of_one(own, number, text) from error
        raise


def of_one(error: InputError, number: int, text: object, noun: str = "Text") -> InputError:
    """The error about one of many texts, with its number, its first characters and the same remedies."""
    kind = TooLongError if isinstance(error, TooLongError) else InputError
    about = f"{noun} {number}, counted from 0 ({first_characters(text)!r})"
    return kind(f"{about}: {error.problem}", error.remedies)


def first_characters(text: object) -> str:
    """How one of many texts is shown, to say which it is; of ids, what there is."""
    shown = ", ".join(text) if isinstance(text, Mapping) else str(text)
    # A lone surrogate, for which the text may be refused, can be in no table and on no terminal.
    return shown[:FIRST_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def check_readable(loaded: LoadedModel, text: Any, truncate: bool) -> None:
    """Read one text as far as it takes to know that the model can; nothing is generated.

    Raises:
        InputError, TooLongError: it cannot.
    """
    if isinstance(text, Mapping):
        loaded.check_ids(dict(_prepared_rows(loaded, [text]).inputs))
        return
    (source,), (target,) = split_texts(loaded, [text])
    tokenized = tokenize(
        loaded.need_tokenizer(), [source], max_length=loaded.max_length, truncate=truncate, pad_id=loaded.pad_id
    )
    loaded.check_ids(dict(accepted(loaded.model, tokenized.inputs)))
    if target is not None:
        _given_target(loaded, target, truncate)


def _prepared_texts(loaded: LoadedModel, texts: Sequence[str | Pair | Messages], truncate: bool) -> Prepared:
    tokenizer = loaded.need_tokenizer()
    two_stacks = loaded.architecture == "encoder-decoder"
    reads_again = two_stacks and _reads_twice(loaded)
    sources, targets = split_texts(loaded, texts)
    tokenized = tokenize(tokenizer, sources, max_length=loaded.max_length, truncate=truncate, pad_id=loaded.pad_id)
    inputs: dict[str, Any] = dict(accepted(loaded.model, tokenized.inputs))
    loaded.check_ids(inputs)
    target = None
    if reads_again:
        rows = [_shifted_source(loaded, torch.tensor(tokens.ids)) for tokens in tokenized.tokens]
    elif two_stacks:
        rows = [_target_row(loaded, inputs, index, text, truncate) for index, text in enumerate(targets)]
    if two_stacks:
        inputs["decoder_input_ids"] = _stacked(rows, loaded.pad_id)
        inputs["decoder_attention_mask"] = _stacked([torch.ones_like(row) for row in rows], 0)
        inputs = accepted(loaded.model, inputs)
        target = tuple(tokens_of(loaded, row, text) for row, text in zip(rows, targets, strict=True))
    return Prepared(loaded.to_device(inputs), tokenized.tokens, target)


def split_texts(
    loaded: LoadedModel, texts: Sequence[str | Pair | Messages]
) -> tuple[list[str | Pair | Messages], list[str | None]]:
    """What is read as each main text, and its target: a pair is source and target only where the decoder reads another.

    An encoder–decoder that classifies reads both texts of a pair as its source.
    """
    if loaded.architecture != "encoder-decoder" or _reads_twice(loaded):
        return list(texts), [None] * len(texts)
    pairs = [text if isinstance(text, tuple) and not is_messages(text) else (text, None) for text in texts]
    return [source for source, _ in pairs], [target for _, target in pairs]


def _reads_twice(loaded: LoadedModel) -> bool:
    return type(loaded.model).__name__.endswith(_READ_TWICE)


def _prepared_rows(loaded: LoadedModel, texts: Sequence[Text]) -> Prepared:
    rows: list[Mapping[str, Any]] = [text for text in texts if isinstance(text, Mapping)]
    if len(rows) != len(texts):
        raise InputError("Texts and inputs were given together; give either texts or inputs.")
    if any("role" in row for row in rows):
        raise InputError("A chat was given where several texts are expected; put its messages into a list: [messages].")
    names = list(rows[0])
    if any(list(row) != names for row in rows):
        raise InputError(f"All inputs must have the same parts; the first has {', '.join(names)}.")
    source_name = next((name for name in (*SOURCE, ids_argument(loaded.model)) if name in names), names[0])
    target_name = next((name for name in TARGET if name in names), None)
    if loaded.architecture == "encoder-decoder" and target_name is None:
        raise InputError("An encoder–decoder's inputs need decoder_input_ids beside input_ids.")
    source = [row[source_name][0] for row in rows]
    limit = loaded.max_length
    longest = max(map(len, source))
    if limit is not None and longest > limit:
        raise TooLongError(f"The inputs have {longest} tokens, but the model has positions for {limit}; shorten them.")
    inputs: dict[str, Any] = {
        name: _stacked([row[name][0] for row in rows], loaded.pad_id if name.endswith("input_ids") else 0)
        for name in names
    }
    inputs["attention_mask"] = _stacked([torch.ones(len(row), dtype=torch.long) for row in source], 0)
    target = None
    if target_name is not None:
        written = [row[target_name][0] for row in rows]
        inputs["decoder_attention_mask"] = _stacked([torch.ones(len(row), dtype=torch.long) for row in written], 0)
        target = tuple(tokens_of(loaded, row) for row in written)
    inputs = _named(loaded.model, inputs)
    if "attention_mask" not in inputs and len({len(row) for row in source}) > 1:
        raise InputError(
            f"{loaded.name} takes no attention_mask, so inputs of different lengths cannot run together",
            ["give them one by one", Option("batch_size", "1")],
        )
    return Prepared(loaded.to_device(inputs), tuple(tokens_of(loaded, row) for row in source), target)


def _named(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as the model's forward names them: its own name for the ids, and masks only where it takes them."""
    parameters = forward_parameters(model)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(inputs)
    own = ids_argument(model)
    renamed = {own if name == "input_ids" and own not in inputs else name: value for name, value in inputs.items()}
    return {name: value for name, value in renamed.items() if name in parameters or not name.endswith("mask")}


def takes_mask(model: nn.Module) -> bool:
    """Whether a model's forward can be told of padding."""
    parameters = forward_parameters(model)
    return "attention_mask" in parameters or any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()
    )


def tokens_of(loaded: LoadedModel, ids: Tensor, text: str | None = None) -> Tokens:
    """The tokens of one text's ids ``[token]``: numbered positions without a tokenizer, or for embeddings.

    Args:
        text: what was read as these ids; by default what they spell.
    """
    if ids.dim() > 1:
        return Tokens.positions(len(ids))
    if loaded.tokenizer is None:
        return replace(Tokens.positions(len(ids)), ids=tuple(ids.tolist()))
    return tokens_of_ids(loaded.tokenizer, ids.tolist(), text)


def _target_row(
    loaded: LoadedModel, inputs: Mapping[str, Tensor], index: int, text: str | None, truncate: bool
) -> Tensor:
    """What the decoder reads: the start token, then the given target or what the model writes itself."""
    limit = loaded.max_target_length
    if text is None and loaded.can_generate:
        size = (
            int(inputs["attention_mask"][index].sum()) if "attention_mask" in inputs else inputs["input_ids"].shape[1]
        )
        alone = {name: value[index : index + 1, :size] for name, value in inputs.items()}
        longest = LONGEST_TARGET if limit is None else max(1, min(LONGEST_TARGET, limit - 1))
        return written_targets(loaded, alone, max_new_tokens=longest)[0][0]
    return torch.tensor([start_id(loaded)]) if text is None else _given_target(loaded, text, truncate)


def _given_target(loaded: LoadedModel, text: str, truncate: bool) -> Tensor:
    limit = loaded.max_target_length
    row = shifted_target(loaded, text)
    if limit is None or len(row) <= limit:
        return row
    if not truncate:
        raise TooLongError(
            f"The target has {len(row)} tokens, but the model's decoder has positions for {limit}",
            ["shorten it", Option("truncate", "True")],
        )
    return row[:limit]


def shifted_target(loaded: LoadedModel, text: str) -> Tensor:
    """A given target as the decoder reads it while it is trained: begun by the start token, without the end."""
    check_text(text)
    tokenizer = loaded.need_tokenizer()
    try:
        encoded = tokenizer(text_target=text, verbose=False)["input_ids"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{type(tokenizer).__name__} cannot read a target ({type(error).__name__}: {error}); set its target "
            "language, such as tokenizer.tgt_lang."
        ) from error
    start = start_id(loaded)
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)
    if callable(shift) and encoded and encoded[-1] in special_token_ids(tokenizer):
        # The library's own shift of labels: it knows where a language code belongs, and drops what ends the target.
        try:
            return shift(labels=torch.tensor([encoded], device=loaded.device))[0].cpu()
        except ValueError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ModelError(f"{loaded.name} cannot shift a target: {reason}; set it in model.config.") from error
    kept = [number for number in encoded if number != tokenizer.eos_token_id]
    return torch.tensor([start, *kept], dtype=torch.long)


def _shifted_source(loaded: LoadedModel, ids: Tensor) -> Tensor:
    """The source ``[token]`` as the decoder reads it once more, shifted by the model's own function."""
    start = start_id(loaded)
    own = getattr(loaded.model, "_shift_right", None)
    if callable(own):
        return own(ids[None].to(loaded.device))[0].cpu()
    shift = getattr(sys.modules[type(loaded.model).__module__], "shift_tokens_right", None)
    if shift is None:
        return torch.cat([torch.tensor([start]), ids[:-1]])
    given = (ids[None], loaded.pad_id, start)
    return shift(*given[: len(inspect.signature(shift).parameters)])[0]


def written_targets(loaded: LoadedModel, inputs: Mapping[str, Tensor], **options: Any) -> list[Tensor]:
    """What an encoder–decoder writes, each ``[1, token]``, without the token that ends it: no row follows that."""
    ends = _end_ids(loaded, options)
    if getattr(getattr(loaded.model, "generation_config", None), "decoder_start_token_id", None) is None:
        options = {"decoder_start_token_id": start_id(loaded)} | options
    written = generated_ids(loaded, inputs, start=1, **options)
    return [ids[:, :-1] if ids.shape[1] > 1 and int(ids[0, -1]) in ends else ids for ids in written]


def generated_ids(loaded: LoadedModel, inputs: Mapping[str, Tensor], *, start: int, **options: Any) -> list[Tensor]:
    """Every sequence that the model writes, each ``[1, token]``, without what fills up the shorter ones.

    Args:
        start: how many tokens of a sequence the model did not write.
        options: of the model's ``generate``.

    Raises:
        InputError: the model cannot use the options or the inputs.
    """
    settings = {"do_sample": False, "num_beams": 1, "pad_token_id": loaded.pad_id} | options
    loaded.check_ids(inputs)
    with loaded.evaluating() as model, torch.no_grad():
        given = loaded.to_device(dict(inputs))
        with named_errors(model, given):
            try:
                result = model.generate(**given, **settings)  # type: ignore[operator]
            except (ValueError, TypeError, ArithmeticError) as error:
                if not options:
                    raise
                chosen = ", ".join(f"{name}={value!r}" for name, value in options.items())
                reason = " ".join(str(error).split())[:300].rstrip(".")
                raise InputError(
                    f"The model cannot generate with {chosen}; correct these options: {reason}."
                ) from error
    rows = (result if isinstance(result, Tensor) else result.sequences).cpu()
    return [row[None, : _written_length(row.tolist(), start, _end_ids(loaded, options), settings)] for row in rows]


def _written_length(ids: list[int], start: int, ends: set[int], settings: Mapping[str, Any]) -> int:
    """Tokens up to the one that ends the sequence; one that ended otherwise is filled up with padding alone."""
    for at in range(start, len(ids)):
        if ids[at] in ends:
            return at + 1
    length = len(ids)
    while (
        settings.get("num_return_sequences", 1) > 1 and length > start and ids[length - 1] == settings["pad_token_id"]
    ):
        length -= 1
    return length


def _end_ids(loaded: LoadedModel, options: Mapping[str, Any]) -> set[int]:
    """Ids that end what the model writes, as its ``generate`` takes them."""
    holders = (getattr(loaded.model, "generation_config", None), loaded.config, loaded.tokenizer)
    for ends in (options.get("eos_token_id"), *(getattr(holder, "eos_token_id", None) for holder in holders)):
        if ends is not None:
            return {int(number) for number in (ends if isinstance(ends, (list, tuple)) else [ends])}
    return set()


def start_id(loaded: LoadedModel) -> int:
    for holder in (getattr(loaded.model, "generation_config", None), loaded.config):
        number = getattr(holder, "decoder_start_token_id", None)
        if number is not None:
            return int(number)
    for name in ("bos_token_id", "pad_token_id"):
        number = getattr(loaded.config, name, None)
        if number is not None:
            return int(number)
    raise ModelError(f"{loaded.name} names no token that a target starts with (decoder_start_token_id).")


def _stacked(rows: Sequence[Tensor], fill: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def accepted(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those inputs that the model's forward names: a tokenizer may make more than a model of another kind reads."""
    names = forward_parameters(model)
    if "input_ids" not in names:
        return dict(inputs)
    return {name: value for name, value in inputs.items() if name in names}
