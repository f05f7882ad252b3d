"""Chats: lists of messages, written as one text by the tokenizer's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias, TypeGuard

from attention_analyzer.errors import InputError
from attention_analyzer.text.chat_parts import DOCUMENT_TEXTS, TEMPLATE_ERRORS, chat_parts
from attention_analyzer.text.parts import Part

#: Messages as chat templates take them: ``{"role": "user", "content": "Hello"}``, …
Messages: TypeAlias = Sequence[Mapping[str, Any]]
#: Appended to the content of a message to see whether the template writes it.
_MARK = "zqx{}xqz"


class ChatText(str):
    """A chat as a template writes it, with all its special tokens: the tokenizer must add none of its own."""

    __slots__ = ("parts",)

    parts: tuple[Part, ...]

    def __new__(cls, text: str, parts: tuple[Part, ...] = ()) -> Self:
        """A text with the places of its turns, thoughts and documents."""
        made = super().__new__(cls, text)
        made.parts = parts
        return made

    def __repr__(self) -> str:
        """Unlike that of the same text without a template, which has other tokens."""
        return f"ChatText({super().__repr__()})"


def is_messages(value: Any) -> TypeGuard[Messages]:
    """Whether a value is meant as a chat: a list of mappings with roles or contents."""
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(each, Mapping) for each in value)
        and any("role" in each or "content" in each for each in value)
    )


def listed_texts(texts: Any) -> list[Any]:
    """One text, pair or chat as a list of it; several as a list."""
    return [texts] if isinstance(texts, (str, tuple)) or is_messages(texts) else list(texts)


def as_text(tokenizer: Any, text: Any) -> Any:
    """The text itself; of messages (also as a part of a pair) the text that the template makes of them."""
    if is_messages(text):
        return chat_text(tokenizer, text)
    if isinstance(text, tuple) and any(map(is_messages, text)):
        return tuple(as_text(tokenizer, part) for part in text)
    return text


def chat_text(
    tokenizer: Any,
    messages: Messages,
    *,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Any] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
) -> ChatText:
    """The text of a chat, by the tokenizer's chat template.

    The content of a message is a str or a list of text parts; a template that takes only one of the two is given that.

    Args:
        tools: functions or their schemas, for templates that offer them to the model.
        documents: texts, or mappings such as ``{"title": "Report", "text": "…"}``, for templates that show them to the
            model.
        add_generation_prompt: end with what begins an answer.
        continue_final_message: leave the last message open, so that it can be continued.

    Raises:
        InputError: the messages are malformed or the template refuses them or leaves one out, it does not write the
            documents, or there is no template.
    """
    shown = _documents(documents)
    checked = [_checked(number, message) for number, message in enumerate(_listed(messages))]
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{type(tokenizer).__name__} has no chat template, so messages cannot be made a text; give a text, or set "
            "tokenizer.chat_template."
        )
    options = {
        "tools": None if tools is None else list(tools),
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": continue_final_message,
    }
    if shown:
        options["documents"] = shown
    refusal: Exception | None = None
    best: tuple[list[int], list[dict[str, Any]]] | None = None
    for form in (_as_string, _as_parts):
        try:
            marked = _render(tokenizer, [form(message, _MARK.format(at)) for at, message in enumerate(checked)], {})
        except TEMPLATE_ERRORS as error:
            refusal = refusal or error
            continue
        left_out = [at for at, message in enumerate(checked) if _texts(message) and _MARK.format(at) not in marked]
        if best is None or len(left_out) < len(best[0]):
            best = left_out, [form(message, "") for message in checked]
    if best is None:
        assert refusal is not None
        raise _refused(refusal) from refusal
    if best[0]:
        number = best[0][0]
        raise InputError(
            f"The chat template leaves out message {number} (role {checked[number]['role']!r}); give a role "
            "and a place that the template knows."
        )
    try:
        text = _render(tokenizer, best[1], options)
    except TEMPLATE_ERRORS as error:
        raise _refused(error) from error
    _check_documents(text, shown)

    def render(some: Sequence[dict[str, Any]], of_documents: Sequence[dict[str, Any]]) -> str:
        open_end = {"continue_final_message": continue_final_message and len(some) >= len(checked)}
        given = {"documents": list(of_documents)} if of_documents else {}
        return _render(tokenizer, list(some), {"tools": options["tools"], **open_end, **given})

    return ChatText(text, chat_parts(text, best[1], shown, render))


def _documents(documents: Sequence[Any] | None) -> list[dict[str, Any]]:
    """Documents as templates take them.

    Raises:
        InputError: one is neither a text nor a mapping with a text.
    """
    if documents is None:
        return []
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Sequence):
        raise InputError(f"Documents are a list of texts or of mappings with a text, not a {type(documents).__name__}.")
    result = []
    for number, document in enumerate(documents, start=1):
        made = {"title": "", "text": document} if isinstance(document, str) else document
        text = next((made[key] for key in DOCUMENT_TEXTS if made.get(key)), None) if isinstance(made, Mapping) else None
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"Document {number} needs a text, as in {{'title': 'Report', 'text': 'It rained.'}}, but is "
                f"{str(document)[:60]!r}."
            )
        result.append(dict(made))
    return result


def _check_documents(text: str, documents: Sequence[Mapping[str, Any]]) -> None:
    squeezed = " ".join(text.split()) if documents else ""
    for number, document in enumerate(documents, start=1):
        own = next(document[key] for key in DOCUMENT_TEXTS if document.get(key))
        if " ".join(own.split()) not in squeezed:
            raise InputError(
                f"The chat template does not write document {number}; put the documents into a message, and name them "
                "as parts."
            )


def _refused(error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return InputError(f"The chat template refuses these messages: {reason}; correct their roles, order or contents.")


def _listed(messages: Any) -> list[Any]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        given = f"{messages!r}"[:60]
        raise InputError(
            f"Messages are a list such as [{{'role': 'user', 'content': 'Hello'}}], but {given} was given."
        )
    return list(messages)


def _checked(number: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        given = f"{dict(message) if isinstance(message, Mapping) else message!r}"[:80]
        raise InputError(
            f"Message {number} needs a role, as in {{'role': 'user', 'content': 'Hello'}}, but is {given}."
        )
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return dict(message)
    if not isinstance(content, (str, list, tuple)):
        given = "lacks it" if content is None else f"has a {type(content).__name__}"
        raise InputError(f"Message {number} needs a content, a str or a list of text parts, but {given}.")
    for part in () if isinstance(content, str) else content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise InputError(
                f"Message {number} has a part of the type {kind!r}, but messages are read as text alone; for images or "
                "sound give the processor's inputs: record(inputs=processor.apply_chat_template(…, tokenize=True, "
                'return_dict=True, return_tensors="pt")).'
            )
    return dict(message)


def _texts(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _as_string(message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    return dict(message) if message.get("content") is None else {**message, "content": _texts(message) + mark}


def _as_parts(message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    content = message.get("content")
    if content is None:
        return dict(message)
    parts = [content] if isinstance(content, str) else [part["text"] for part in content]
    texts = [*parts[:-1], parts[-1] + mark] if parts else [mark]
    return {**message, "content": [{"type": "text", "text": text} for text in texts]}


def _render(tokenizer: Any, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    if not isinstance(text, str):
        raise TypeError(f"it made a {type(text).__name__} instead of a text")
    return text
