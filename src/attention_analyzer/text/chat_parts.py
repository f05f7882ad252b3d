"""Where turns, thoughts and documents of a chat stand in the text that a template made of it.

Nothing is looked for in the text. The template itself is run again, with marks around the contents, and with fewer
messages or documents; what the two texts have in common says where each part begins and ends. So any template can be
followed that writes its messages one after the other, whatever special tokens it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from attention_analyzer.text.parts import Part

Message = dict[str, Any]
#: Messages and documents → the template's text.
Render = Callable[[Sequence[Message], Sequence[Message]], str]
#: What templates raise: their own refusals, and what an operation on an unexpected message leads to.
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
#: Where messages hold what the model thought before it answered.
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
#: Entries of documents in the order of preference: what is marked.
DOCUMENT_TEXTS = ("text", "content", "contents", "body")
_OPEN, _CLOSE = "zqxa{}xqz", "zqxb{}xqz"


@dataclass(frozen=True)
class _Field:
    """A text of a message or document that is marked: where it comes from, and the number of its mark."""

    of: str
    number: int
    key: str
    mark: int


def chat_parts(
    text: str, messages: Sequence[Message], documents: Sequence[Message], render: Render
) -> tuple[Part, ...]:
    """The parts of a chat's text: levels ``turn``, ``document`` where there are any, and ``section``.

    Sections are the finest of these: each document, each thought and each turn without them.

    Args:
        text: what the template made of all messages and documents; it may go on with what begins an answer.
        render: the template, without what begins an answer.

    Returns:
        The parts, or none where the template does not write messages one after the other.
    """
    try:
        spans = _marked_spans(text, messages, documents, render)
        if spans is None:
            return ()
        return _Chat(text, messages, documents, render, spans).parts()
    except TEMPLATE_ERRORS:
        return ()


@dataclass(frozen=True)
class _Chat:
    text: str
    messages: Sequence[Message]
    documents: Sequence[Message]
    render: Render
    spans: Mapping[_Field, tuple[int, int]]

    def parts(self) -> tuple[Part, ...]:
        turns = self._turns()
        documents = self._documents(turns[0].start if turns else len(self.text))
        if documents and turns and documents[-1].end > turns[0].start > documents[0].start:
            turns = [Part(turns[0].name, documents[-1].end, turns[0].end, "turn"), *turns[1:]]
        sections = self._sections(turns, documents)
        return (*turns, *documents, *sections)

    def _content(self, of: str, number: int) -> tuple[int, int] | None:
        """From the first to the last marked character of a message or document."""
        own = [span for field, span in self.spans.items() if (field.of, field.number) == (of, number)]
        return (min(start for start, _ in own), max(end for _, end in own)) if own else None

    def _turns(self) -> list[Part]:
        ends: list[int] = []
        for number in range(len(self.messages)):
            own, following = self._content("message", number), self._content("message", number + 1)
            low = own[1] if own else (ends[-1] if ends else 0)
            high = following[0] if following else len(self.text)
            ends.append(min(max(self._end(number, low), low), high))
        starts = [self._first_start(ends[0]), *ends[:-1]]
        turns = [
            Part(f"{message['role']} {number}", start, end, "turn")
            for number, (message, start, end) in enumerate(zip(self.messages, starts, ends, strict=True), start=1)
            if end > start
        ]
        if ends[-1] < len(self.text) and self.text[ends[-1] :].strip():
            turns.append(Part(f"assistant {len(self.messages) + 1}", ends[-1], len(self.text), "turn"))
        return turns

    def _end(self, number: int, content_end: int) -> int:
        """Where a turn ends: as far as the text is that of the messages up to it alone.

        A template may write earlier turns otherwise when they are the last. What it puts behind a content is then
        taken from there. 0 where it refuses the messages.
        """
        try:
            alone = self.render(self.messages[: number + 1], self.documents)
        except TEMPLATE_ERRORS:
            return 0
        shared = _shared_length(alone, self.text)
        content = self.messages[number].get("content")
        if shared >= content_end or not isinstance(content, str) or not content.strip():
            return shared
        behind = alone[alone.rfind(content.strip()) + len(content.strip()) :]
        return content_end + _shared_length(behind, self.text[content_end:])

    def _first_start(self, end: int) -> int:
        """Where the first turn begins: a second turn of the same message shows how long it is."""
        first = self.messages[0]
        other = next((m for m in self.messages if m["role"] != first["role"]), None)
        for before in ([first], [first, other] if other else []):
            try:
                longer = len(self.render([*before, first], self.documents)) - len(self.render(before, self.documents))
            except TEMPLATE_ERRORS:
                continue
            content = self._content("message", 0)
            if before and 0 < longer <= end and (content is None or end - longer <= content[0]):
                return end - longer
        return 0

    def _documents(self, turns_start: int) -> list[Part]:
        ends: list[int] = []
        for number, document in enumerate(self.documents):
            own, following = self._content("document", number), self._content("document", number + 1)
            if own is None:
                return []
            more = [*self.documents[: number + 1], document]
            fewer, longer = self.render(self.messages, self.documents[: number + 1]), self.render(self.messages, more)
            high = following[0] if following else len(self.text)
            if following is None and own[1] <= turns_start:
                high = turns_start
            ends.append(min(max(_shared_length(fewer, longer), own[1]), high))
        if not ends:
            return []
        first = self._content("document", 0)
        assert first is not None
        longer = self.render(self.messages, [self.documents[0], self.documents[0]])
        extent = len(longer) - len(self.render(self.messages, self.documents[:1]))
        start = ends[0] - extent if 0 <= ends[0] - extent <= first[0] else first[0]
        starts = [start, *ends[:-1]]
        return [
            Part(f"document {number}", start, end, "document")
            for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
        ]

    def _sections(self, turns: Sequence[Part], documents: Sequence[Part]) -> list[Part]:
        thoughts = {
            field.number: span[1]
            for field, span in self.spans.items()
            if field.of == "message" and field.key in THOUGHTS
        }
        sections = [Part(part.name, part.start, part.end, "section") for part in documents]
        for number, turn in enumerate(turns):
            start = turn.start
            if number in thoughts and start < thoughts[number] < turn.end:
                sections.append(Part(f"thought {number + 1}", start, thoughts[number], "section"))
                start = thoughts[number]
            inside = [part for part in documents if start < part.end and part.start < turn.end]
            for place, part in enumerate(inside):  # documents that a template writes into a turn
                if part.start > start:
                    name = turn.name if place == 0 else f"{turn.name} (part {place + 1})"
                    sections.append(Part(name, start, part.start, "section"))
                start = part.end
            if start < turn.end:
                name = f"{turn.name} (end)" if inside else turn.name
                sections.append(Part(name, start, turn.end, "section"))
        return sorted(sections, key=lambda part: part.start)


def _marked_spans(
    text: str, messages: Sequence[Message], documents: Sequence[Message], render: Render
) -> dict[_Field, tuple[int, int]] | None:
    """Where each content stands in the text; None where the template writes other text around marked contents."""
    fields = [
        *(
            _Field("message", n, key, 0)
            for n, m in enumerate(messages)
            for key in ("content", *THOUGHTS)
            if _has(m, key)
        ),
        *(
            _Field("document", n, key, 0)
            for n, document in enumerate(documents)
            for key in (*DOCUMENT_TEXTS, "title")
            if _has(document, key)
        ),
    ]
    fields = [_Field(field.of, field.number, field.key, mark) for mark, field in enumerate(fields)]
    for place in (_around, _around_stripped, _inside):
        marked = render(
            [_with_marks(message, "message", n, fields, place) for n, message in enumerate(messages)],
            [_with_marks(document, "document", n, fields, place) for n, document in enumerate(documents)],
        )
        plain, spans = _unmarked(marked, fields)
        if text.startswith(plain):
            return spans
    return None


def _shared_length(one: str, other: str) -> int:
    """How many characters two texts have in common from the start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _has(holder: Mapping[str, Any], key: str) -> bool:
    value = holder.get(key)
    return isinstance(value, str) and bool(value.strip())


def _with_marks(
    holder: Message, of: str, number: int, fields: Sequence[_Field], place: Callable[[str, int], str]
) -> Message:
    own = {
        field.key: place(holder[field.key], field.mark) for field in fields if (field.of, field.number) == (of, number)
    }
    return {**holder, **own}


def _around(content: str, mark: int) -> str:
    return f"{_OPEN.format(mark)}{content}{_CLOSE.format(mark)}"


def _around_stripped(content: str, mark: int) -> str:
    """For templates that strip contents."""
    return _around(content.strip(), mark)


def _inside(content: str, mark: int) -> str:
    """For templates that look at how a content begins or ends."""
    stripped = content.strip()
    return (
        f"{stripped[0]}{_OPEN.format(mark)}{stripped[1:]}"
        if len(stripped) == 1
        else (f"{stripped[0]}{_OPEN.format(mark)}{stripped[1:-1]}{_CLOSE.format(mark)}{stripped[-1]}")
    )


def _unmarked(marked: str, fields: Sequence[_Field]) -> tuple[str, dict[_Field, tuple[int, int]]]:
    """The text without its marks, and where they stood."""
    found: list[tuple[int, int, _Field, bool]] = []
    for field in fields:
        for mark, opens in ((_OPEN.format(field.mark), True), (_CLOSE.format(field.mark), False)):
            at = marked.find(mark)
            if at >= 0:
                found.append((at, len(mark), field, opens))
    pieces: list[str] = []
    stands: dict[tuple[_Field, bool], int] = {}
    reached = length = 0
    for at, size, field, opens in sorted(found, key=lambda entry: entry[0]):
        pieces.append(marked[reached:at])
        length += at - reached
        stands[field, opens] = length
        reached = at + size
    pieces.append(marked[reached:])
    spans = {}
    for field in fields:
        if (field, True) in stands:
            start = stands[field, True]
            spans[field] = (start, max(start, stands.get((field, False), start)))
    return "".join(pieces), spans
