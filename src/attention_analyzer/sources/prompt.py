"""A prompt, the parts of it that an answer may come from, and the answer's tokens."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attention_analyzer.errors import InputError, ModelError, TooLongError, UnsupportedModelError
from attention_analyzer.inputs import generated_ids
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.chat import Messages, chat_text, is_messages
from attention_analyzer.text.parts import Part, Parts, divide
from attention_analyzer.text.splitters import Level, parts_of
from attention_analyzer.text.tokenization import tokenize
from attention_analyzer.text.tokens import Tokens


@dataclass(frozen=True)
class Prompt:
    """What the model reads and what it answered.

    Attributes:
        tokens: of the prompt, up to where the answer begins.
        parts: all parts of the prompt.
        candidates: numbers of the parts that the answer may come from.
        answer_ids: the answer's tokens.
        answer: the answer as text.
        is_given: whether the answer was given instead of written by the model now.
    """

    tokens: Tokens
    parts: Parts
    candidates: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer: str
    is_given: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the candidates."""
        return tuple(self.parts.names[number] for number in self.candidates)

    def run_of(self, candidate: int) -> range:
        """The tokens of a candidate."""
        number = self.candidates[candidate]
        return range(self.parts.borders[number], self.parts.borders[number + 1])

    def answer_score(self, logits: torch.Tensor) -> float:
        """The answer's log-probability in nats, from logits ``[1, token, vocabulary]`` of all but its last token."""
        size = len(self.answer_ids)
        picked = torch.log_softmax(logits[0, -size:].double(), dim=-1)
        return float(picked[torch.arange(size), torch.tensor(self.answer_ids)].sum())


def read_prompt(
    loaded: LoadedModel,
    prompt: str | Messages | None = None,
    *,
    messages: Messages | None = None,
    documents: Sequence[Any] | None = None,
    answer: str | None = None,
    parts: Level | None = None,
    max_new_tokens: int = 64,
) -> Prompt:
    """Write the prompt by the model's template, divide it, and let the model answer if no answer is given.

    Raises:
        InputError: prompt, documents, parts or answer cannot be used.
        TooLongError: prompt and answer exceed the model's positions; the first part that does not fit is named.
        UnsupportedModelError: the model does not continue texts.
    """
    if (prompt is None) == (messages is None):
        raise InputError("Give either a prompt or messages=…, and not both.")
    if not loaded.can_generate or loaded.architecture == "encoder-decoder":
        raise UnsupportedModelError(
            f"{loaded.name or 'This model'} does not continue a text, so the sources of its answers cannot be "
            "measured; use a decoder with a language-model head."
        )
    chat: Any = messages if messages is not None else prompt
    tokenizer = loaded.need_tokenizer()
    if is_messages(chat):
        chat, answer = _without_answer(chat, answer)
        text: str = chat_text(tokenizer, chat, documents=documents, add_generation_prompt=True)
        tokens = tokenize(tokenizer, [text]).tokens[0]
        divided, candidates = _of_chat(tokens, parts)
    elif isinstance(chat, str):
        tokens = tokenize(tokenizer, [chat]).tokens[0]
        tokens = _open_ended(tokens, tokenizer)
        divided, candidates = _of_text(tokens, chat, documents, parts)
    else:
        raise InputError(f"A prompt is a text or a list of at least one message, not {reprlib.repr(chat)}.")
    _check_length(loaded, divided, candidates, len(tokens) + (1 if answer is not None else max_new_tokens))
    if answer is None:
        ids = _written(loaded, tokens, max_new_tokens)
        shown = tokenizer.decode(list(ids), skip_special_tokens=True)
    else:
        ids, shown = _answer_ids(tokenizer, answer), answer
    _check_length(loaded, divided, candidates, len(tokens) + len(ids))
    return Prompt(tokens, divided, candidates, tuple(ids), shown, answer is not None)


def _without_answer(chat: Messages, answer: str | None) -> tuple[Messages, str | None]:
    """An assistant's last message is the answer to what stands before it."""
    last = chat[-1]
    if last.get("role") != "assistant":
        return chat, answer
    if answer is not None:
        raise InputError("The last message is an answer already; leave it out, or give no answer=….")
    content = last.get("content")
    if not isinstance(content, str) or not content.strip() or len(chat) < 2:
        raise InputError(
            "The last message is the assistant's, so it is taken as the answer, but it has no text to explain."
        )
    return chat[:-1], content


def _of_chat(tokens: Tokens, level: Level | None) -> tuple[Parts, tuple[int, ...]]:
    """Candidates are all parts before the last turn of the user, who asks there."""
    sections = [part for part in tokens.parts if part.level == "section"]
    if not sections:
        raise InputError(
            "The turns of this chat are not found, because its template writes messages otherwise than one after the "
            "other; give the written prompt as a text, with parts=[Part(name, start, end), …]."
        )
    divided = parts_of(tokens, level)
    asked = [part.start for part in sections if part.name.startswith("user ")]
    border = asked[-1] if asked else sections[-1].start
    named = {part.name for part in sections} if level is None else set(divided.names)
    found = tuple(
        number
        for number, part in enumerate(divided.parts)
        if part.end <= border and part.start < part.end and part.name in named
    )
    if not found:
        raise InputError(
            "Nothing stands before the question, so there is no source to look for; give documents=… or earlier turns."
        )
    return divided, found


def _of_text(
    tokens: Tokens, text: str, documents: Sequence[Any] | None, level: Level | None
) -> tuple[Parts, tuple[int, ...]]:
    if documents is not None:
        if level is not None:
            raise InputError("Give either documents=… or parts=… of a prompt, and not both.")
        given = _documents_in(text, documents)
        divided = divide(tokens, given, "document")
    elif level is not None and not (isinstance(level, str) or callable(level) or isinstance(level, Parts)):
        given = list(level)
        divided = parts_of(tokens, given)
    else:
        divided = parts_of(tokens, "sentence" if level is None else level)
        return divided, tuple(n for n, part in enumerate(divided.parts[:-1]) if part.start < part.end)
    own = {part.name for part in given}
    return divided, tuple(n for n, part in enumerate(divided.parts) if part.name in own)


def _documents_in(text: str, documents: Sequence[Any]) -> list[Part]:
    if isinstance(documents, (str, bytes)) or not documents:
        raise InputError("Documents are a list of texts; at least one is needed.")
    found: list[Part] = []
    reached = 0
    for number, document in enumerate(documents, start=1):
        content = document.get("text") if isinstance(document, Mapping) else document
        content = content if isinstance(content, str) else ""
        at = text.find(content, reached) if content.strip() else -1
        if at < 0:
            raise InputError(
                f"Document {number} does not stand in the prompt (after the documents before it); write it into the "
                "prompt as it is, or give messages=… so that the model's template writes it."
            )
        reached = at + len(content)
        found.append(Part(f"document {number}", at, reached, "document"))
    return found


def _open_ended(tokens: Tokens, tokenizer: Any) -> Tokens:
    """A prompt to be continued has no end-of-text token, which some tokenizers put there."""
    if len(tokens) > 1 and tokens.is_special[-1] and tokens.ids[-1] == tokenizer.eos_token_id:
        return tokens.head(len(tokens) - 1)
    return tokens


def _check_length(loaded: LoadedModel, parts: Parts, candidates: Sequence[int], needed: int) -> None:
    limit = loaded.max_length
    if limit is None or needed <= limit:
        return
    room = limit - (needed - len(parts.tokens))
    beyond = next((n for n in candidates if parts.borders[n + 1] > room), None)
    named = "" if beyond is None else f"; {parts.names[beyond]!r} and what follows it do not fit"
    raise TooLongError(
        f"Prompt and answer need {needed:,} tokens, but the model has positions for {limit:,}{named}. Leave parts out, "
        "or lower max_new_tokens."
    )


def _written(loaded: LoadedModel, tokens: Tokens, max_new_tokens: int) -> tuple[int, ...]:
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1, not {max_new_tokens!r}.")
    ids = torch.tensor([tokens.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    start = len(tokens)
    written = generated_ids(loaded, inputs, start=start, max_new_tokens=max_new_tokens)[0][0, start:].tolist()
    if not written:
        raise ModelError(f"{loaded.name} writes no answer to this prompt; give answer=….")
    return tuple(int(number) for number in written)


def _answer_ids(tokenizer: Any, answer: str) -> tuple[int, ...]:
    if not answer.strip():
        raise InputError(f"The answer is a text of at least one visible character, not {answer!r}.")
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return tuple(int(number) for number in ids)
