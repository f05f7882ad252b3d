"""Texts and a model in, records or streamed statistics out: the one place where a model is run to be looked at.

*Recording* keeps queries and keys, so that a record can be asked anything. *Streaming* reduces each site inside the
forward and lets them go: for corpora, very long texts and training.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor

from attention_analyzer.assembly import Axes, records_of
from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, ModelError, TooLongError, UnsupportedModelError
from attention_analyzer.given_inputs import as_tensors, valid_tokens
from attention_analyzer.hooks.forward import CapturedForward, capture_forward
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared, Text, accepted, generated_ids, numbered_errors, prepare, written_targets
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.places.find import placed
from attention_analyzer.site import Site
from attention_analyzer.text.chat import Messages, chat_text, is_messages
from attention_analyzer.text.padding import padded_groups, valid_of
from attention_analyzer.text.tokenization import tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import Reduction, Statistics
from attention_analyzer.weights.stacked import Task, is_small, reduce_together

#: How many texts run together unless the caller says otherwise.
BATCH = 16

Item = TypeVar("Item")


@dataclass(frozen=True)
class StreamedBatch:
    """What a streaming forward left of one batch.

    Attributes:
        tokens: per text the tokens of the main text.
        sites: every site in the order it was called.
        statistics: per site, with axes ``[text, head, …]``; padding never counts.
        valid: bool ``[text, token]`` of the main text.
        outputs: the model's own outputs.
    """

    tokens: tuple[Tokens, ...]
    sites: tuple[Site, ...]
    statistics: tuple[Statistics, ...]
    valid: Tensor
    outputs: Any


def record_texts(
    loaded: LoadedModel,
    texts: Sequence[Text],
    *,
    truncate: bool = False,
    check: bool = True,
    batch_size: int = BATCH,
) -> list[CapturedAttention]:
    """One record per text, without padding.

    Args:
        texts: texts, or pairs of texts. For an encoder–decoder a pair is source and target; for a source alone the
            model writes the target itself, greedily.
        truncate: cut what the model has no positions for instead of refusing it.
        check: whether outputs are rebuilt from the weights and compared.
        batch_size: how many texts run together.

    Raises:
        InputError, TooLongError: a text cannot be used.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    records: list[CapturedAttention] = []
    for batch in batches(texts, loaded.at_once(batch_size)):
        with numbered_errors(loaded, batch, count(len(records)), truncate) if len(texts) > 1 else nullcontext():
            prepared = prepare(loaded, batch, truncate=truncate, virtual_tokens=True)
        forward = run(loaded, prepared, check=check)
        if len(batch) > 1 and not _follow_tokens(prepared, forward):
            # Pooled or widened axes: where each text's padding went is unknown, so each runs alone.
            for text in batch:
                records += record_texts(loaded, [text], truncate=truncate, check=check)
            continue
        records += [record_of(loaded, prepared, forward, index) for index in range(len(batch))]
    return records


def record_inputs(
    loaded: LoadedModel, inputs: Mapping[str, Any], *, check: bool = True, places: bool = True
) -> list[CapturedAttention]:
    """Records of any inputs of a forward, such as a tokenizer's or a processor's: text, images, sound, or a mixture.

    The forward runs as the inputs are; padding, left or right, is neither measured nor shown. Axes as long as
    ``input_ids`` (or ``decoder_input_ids``) show those tokens; cells of images show ``row,column`` where that is
    verified (see :mod:`.places`), all others numbered positions.

    Args:
        places: whether it is measured where tokens of images lie.

    Returns:
        One record per row of the batch, and per text where several are packed into a row.

    Raises:
        InputError: the inputs cannot be used, or hold different numbers of texts, images or sounds.
    """
    tensors = as_tensors(inputs)
    for name in ("input_ids", "decoder_input_ids"):
        if name in tensors and (not isinstance(tensors[name], Tensor) or tensors[name].dim() != 2):
            shape = tuple(getattr(tensors[name], "shape", ()))
            raise InputError(f"{name} has the shape {shape}, but [text, token] was expected.")
    loaded.check_ids(tensors)
    axes = Axes.of(tensors)
    with loaded.evaluating() as model:
        forward = capture_forward(
            model, loaded.to_device(tensors), valid=valid_tokens(tensors), check=check, store=loaded.store
        )
    records = records_of(
        loaded,
        forward.sites,
        axes,
        exact=forward.exact,
        deviation=forward.deviation,
        notes={"not_captured": list(forward.not_captured)} if forward.not_captured else None,
    )
    return placed(loaded, records, tensors) if places else records


@overload
def generate(
    loaded: LoadedModel,
    prompt: str | Messages | None = ...,
    *,
    messages: Messages | None = ...,
    max_new_tokens: int = ...,
    num_return_sequences: Literal[1] = ...,
    check: bool = ...,
    **options: Any,
) -> CapturedAttention: ...
@overload
def generate(
    loaded: LoadedModel,
    prompt: str | Messages | None = ...,
    *,
    messages: Messages | None = ...,
    max_new_tokens: int = ...,
    num_return_sequences: int,
    check: bool = ...,
    **options: Any,
) -> CapturedAttention | list[CapturedAttention]: ...
def generate(
    loaded: LoadedModel,
    prompt: str | Messages | None = None,
    *,
    messages: Messages | None = None,
    max_new_tokens: int = 40,
    num_return_sequences: int = 1,
    check: bool = True,
    **options: Any,
) -> CapturedAttention | list[CapturedAttention]:
    """Let the model write, and record the attention over prompt and written tokens.

    The weights are those of one clean forward over the finished text, which a model with a cache computes too, one row
    at a time. ``record.notes`` has ``prompt_tokens`` and ``written``.

    Args:
        prompt: what the model continues, or the messages of a chat.
        messages: instead of a prompt, a chat to be answered; a last message of the assistant is continued.
        num_return_sequences: how many texts are written (with ``do_sample=True`` or ``num_beams``).
        options: further arguments of the model's ``generate`` (``do_sample``, ``temperature``, …).

    Returns:
        A record; with more than one sequence, a list of records in the model's own order (best beam first).

    Raises:
        ModelError: the model cannot write.
        InputError: an option cannot be used.
        TooLongError: prompt and answer exceed the model's positions.
    """
    tokenizer = loaded.need_tokenizer()
    if not loaded.can_generate:
        raise ModelError(
            f"{loaded.name} cannot generate text: {type(loaded.model).__name__} has no language-model head."
        )
    for name, given in (("max_new_tokens", max_new_tokens), ("num_return_sequences", num_return_sequences)):
        if type(given) is not int or given < 1:
            raise InputError(f"{name} must be a whole number of at least 1, not {given!r}.")
    options |= {"max_new_tokens": max_new_tokens}
    if num_return_sequences > 1:
        options |= {"num_return_sequences": num_return_sequences}
    tokenized = tokenize(tokenizer, [_prompt(tokenizer, prompt, messages)], max_length=loaded.max_length)
    inputs = accepted(loaded.model, tokenized.inputs)
    prompt_tokens = tokenized.tokens[0]
    records = []
    if loaded.architecture == "encoder-decoder":
        longest = loaded.max_target_length
        if longest is not None and 1 + max_new_tokens > longest:
            raise TooLongError(
                f"{max_new_tokens} tokens were asked for after the first, but the model's decoder has positions for "
                f"{longest}; lower max_new_tokens."
            )
        for ids in written_targets(loaded, inputs, **options):
            target = tokens_of_ids(tokenizer, ids[0].tolist())
            prepared = Prepared(loaded.to_device(inputs | {"decoder_input_ids": ids}), (prompt_tokens,), (target,))
            notes = {"prompt_tokens": len(prompt_tokens), "written": target.text}
            records.append(_noted(loaded, prepared, notes, check))
    else:
        limit = loaded.max_length
        if limit is not None and len(prompt_tokens) + max_new_tokens > limit:
            raise TooLongError(
                f"The prompt has {len(prompt_tokens)} tokens and {max_new_tokens} more were asked for, but the model "
                f"has positions for {limit}; shorten the prompt or lower max_new_tokens."
            )
        ended = _without_closing(tokenizer, prompt_tokens, inputs)
        start = ended["input_ids"].shape[1]
        for ids in generated_ids(loaded, ended, start=start, **options):
            tokens = tokens_of_ids(tokenizer, ids[0].tolist())
            if prompt_tokens.parts and ids.shape[1] > start:  # so that turns and documents keep their places
                answer = ids[0, start:].tolist()
                written = tokens_of_ids(tokenizer, answer, tokenizer.decode(answer))
                tokens = prompt_tokens.head(start).followed_by(written)
            whole = accepted(loaded.model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            notes = {"prompt_tokens": start, "written": tokenizer.decode(ids[0, start:], skip_special_tokens=True)}
            records.append(_noted(loaded, Prepared(loaded.to_device(whole), (tokens,)), notes, check))
    return records[0] if num_return_sequences == 1 else records


def _prompt(tokenizer: Any, prompt: str | Messages | None, messages: Messages | None) -> str:
    if (prompt is None) == (messages is None):
        raise InputError("Give either a prompt or messages=…, and not both.")
    chat: Any = messages if prompt is None else prompt
    if messages is None and not is_messages(prompt):
        return chat  # what is no text is refused where it is tokenized
    continued = is_messages(chat) and chat[-1].get("role") == "assistant"
    return chat_text(tokenizer, chat, add_generation_prompt=not continued, continue_final_message=continued)


def _noted(loaded: LoadedModel, prepared: Prepared, notes: dict[str, Any], check: bool) -> CapturedAttention:
    record = record_of(loaded, prepared, run(loaded, prepared, check=check), 0)
    return replace(record, notes={**record.notes, **notes})


def stream_texts(
    loaded: LoadedModel,
    texts: Sequence[Text],
    reductions: Sequence[Reduction],
    *,
    truncate: bool = False,
    check: bool = True,
    batch_size: int = BATCH,
) -> Iterator[StreamedBatch]:
    """Statistics of every site, batch by batch; no query or key outlives its call.

    Raises:
        InputError, TooLongError: a text cannot be used.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    numbers = count()
    for batch in batches(texts, loaded.at_once(batch_size)):
        batch_numbers = list(islice(numbers, len(batch)))
        with numbered_errors(loaded, batch, batch_numbers, truncate) if len(texts) > 1 else nullcontext():
            prepared = prepare(loaded, batch, truncate=truncate)
        yield _streamed(loaded, prepared, reductions, check)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to ``size`` items."""
    if size < 1:
        raise InputError(f"A batch holds at least one text, not {size}.")
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def run(
    loaded: LoadedModel,
    prepared: Prepared,
    *,
    keep: Callable[[CallSite, AttentionWeights], Any] | None = None,
    check: bool = True,
) -> CapturedForward[Any]:
    """One captured forward of a prepared batch."""
    with loaded.evaluating() as model:
        valid = prepared.valid.to(loaded.device)
        return capture_forward(model, prepared.inputs, valid=valid, keep=keep, check=check, store=loaded.store)


def _streamed(loaded: LoadedModel, prepared: Prepared, reductions: Sequence[Reduction], check: bool) -> StreamedBatch:
    frames: dict[Hashable, dict[str, Any]] = {}

    def keep(place: CallSite, weights: AttentionWeights) -> Statistics | Task:
        queries, keys = prepared.axes(place.stack, place.kind)
        if weights.shape[1:] != (max(map(len, queries)), max(map(len, keys))):
            raise UnsupportedModelError(
                f"{place.path} has {weights.queries} queries and {weights.keys} keys for a text of {len(queries[0])} "
                "tokens; pooled or widened sequences cannot be streamed: use record(text) instead."
            )
        device = weights.empty().device
        shares = id(queries), id(keys), device
        if shares not in frames:
            frames[shares] = {
                "groups": padded_groups(keys, device),
                "valid": valid_of(queries),
                "key_valid": valid_of(keys),
            }
        task = Task(weights, None if place.kind == "cross" else 0, **frames[shares], shares=shares)
        # A big site is reduced at once, so that its queries and keys need not outlive the call.
        return task if is_small(weights) else task.reduce(reductions)

    forward = run(loaded, prepared, keep=keep, check=check)
    sites, kept = zip(*forward.sites, strict=True)
    small = reduce_together([each for each in kept if isinstance(each, Task)], reductions)
    waiting = iter(small)
    statistics = tuple(next(waiting) if isinstance(each, Task) else each for each in kept)
    return StreamedBatch(prepared.source, sites, statistics, prepared.valid, forward.outputs)


def _follow_tokens(prepared: Prepared, forward: CapturedForward[AttentionWeights]) -> bool:
    """Whether every site's axes are as long as the padded texts they should show."""
    for site, weights in forward.sites:
        queries, keys = prepared.axes(site.stack, site.kind)
        if weights.shape[1:] != (max(map(len, queries)), max(map(len, keys))):
            return False
    return True


def record_of(
    loaded: LoadedModel, prepared: Prepared, forward: CapturedForward[AttentionWeights], index: int
) -> CapturedAttention:
    """The record of one text of a batch, without its padding."""
    entries = []
    for site, weights in forward.sites:
        of_queries, of_keys = prepared.axes(site.stack, site.kind)
        queries = _axis(of_queries, weights.queries, index, loaded.virtual_tokens)
        keys = _axis(of_keys, weights.keys, index, loaded.virtual_tokens)
        cut = weights.select(index, slice(0, len(queries)), slice(0, len(keys)))
        entries.append(SiteRecord(site, cut, queries, keys))
    return _assemble(loaded, entries, forward)


def _axis(tokens: Sequence[Tokens], size: int, index: int, virtual: int) -> Tokens:
    """The tokens of one axis; positions where the model made the sequence shorter or longer."""
    longest = max(map(len, tokens))
    if virtual and size == longest + virtual:
        return tokens[index].after_virtual(virtual)
    return tokens[index] if size == longest else Tokens.positions(size)


def _assemble(loaded: LoadedModel, entries: list[SiteRecord], forward: CapturedForward[Any]) -> CapturedAttention:
    notes: dict[str, Any] = {"not_captured": list(forward.not_captured)} if forward.not_captured else {}
    return CapturedAttention(tuple(entries), loaded.name, loaded.fingerprint, forward.exact, forward.deviation, notes)


def _without_closing(tokenizer: Any, tokens: Tokens, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A prompt to be continued has no end-of-text token, which some tokenizers put there."""
    size = len(tokens)
    if size > 1 and tokens.is_special[-1] and tokens.ids[-1] == tokenizer.eos_token_id:
        size -= 1
    return {name: value[:, :size] for name, value in inputs.items() if name != "token_type_ids"}
