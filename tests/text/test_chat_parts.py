"""Turns, thoughts and documents found by running templates of every common form again."""

from __future__ import annotations

import pytest

from attention_analyzer.errors import InputError
from attention_analyzer.text.chat import ChatText, chat_text
from attention_analyzer.text.splitters import parts_of
from attention_analyzer.text.tokenization import tokenize
from demo_models import facts
from demo_models.tokenization import READER_TEMPLATE, reader_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}" + CHATML
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|h|>' + m.role + '<|/h|>\n\n' + m.content | trim + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|h|>assistant<|/h|>\n\n' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate.') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}"
)
#: Thoughts of turns before the last question are left out, as several model families do.
FORGETS_THOUGHTS = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content and loop.index0 > ns.last %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}"
    "{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
)
IN_SYSTEM = (
    "{{ '<|im_start|>system\n' }}{% for d in documents or [] %}{{ 'Document [' ~ loop.index ~ ']: ' + d.title + '\n' "
    "+ d.text + '\n\n' }}{% endfor %}{{ 'Answer.<|im_end|>\n' }}" + CHATML
)
CHAT = [
    {"role": "user", "content": "What is the home of Ada?"},
    {"role": "assistant", "content": "harbor"},
    {"role": "user", "content": " And what is the pet of Ben? "},
]
DOCUMENTS = [{"title": "letter", "text": "The home of Ada is harbor."}, {"title": "", "text": "The pet of Ben is fox."}]


def tokenizer(template: str) -> object:
    made = reader_tokenizer(facts.vocabulary())
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|h|>", "<|/h|>", "<|eot|>"]})
    made.chat_template = template
    return made


def sections(template: str, messages: list, level: str = "section", **options: object) -> dict[str, str]:
    of = tokenizer(template)
    text = chat_text(of, messages, **options)
    tokens = tokenize(of, [text]).tokens[0]
    parts = parts_of(tokens, level)
    assert "".join(parts.texts) == text
    assert sum(parts.sizes) == len(tokens)
    return dict(zip(parts.names, parts.texts, strict=True))


@pytest.mark.parametrize("template", [CHATML, DEFAULT_SYSTEM])
def test_turns_of_a_template_with_marks(template: str) -> None:
    found = sections(template, CHAT, add_generation_prompt=True)
    assert [name for name in found if name != "other"] == ["user 1", "assistant 2", "user 3", "assistant 4"]
    assert found["user 1"] == "<|im_start|>user\nWhat is the home of Ada?<|im_end|>\n"
    assert found["assistant 2"] == "<|im_start|>assistant\nharbor<|im_end|>\n"
    assert found["assistant 4"] == "<|im_start|>assistant\n"
    if template is DEFAULT_SYSTEM:
        assert found["other"] == "<|im_start|>system\nYou help.<|im_end|>\n"


def test_turns_of_a_template_that_strips() -> None:
    found = sections(HEADERS, CHAT)
    assert found["user 3"] == "<|h|>user<|/h|>\n\nAnd what is the pet of Ben?<|eot|>"
    assert found["assistant 2"] == "<|h|>assistant<|/h|>\n\nharbor<|eot|>"


def test_turns_of_a_template_that_refuses_some_chats() -> None:
    found = sections(INSTRUCT, CHAT)
    assert found["user 1"].endswith("[INST] What is the home of Ada? [/INST]")
    assert found["assistant 2"] == " harbor<|end|>"
    assert found["user 3"] == "[INST]  And what is the pet of Ben?  [/INST]"


def test_thoughts_are_sections() -> None:
    chat = [*CHAT, {"role": "assistant", "content": "fox", "reasoning_content": "The pet of Ben is fox."}]
    found = sections(FORGETS_THOUGHTS, chat)
    assert found["thought 4"] == "<|im_start|>assistant\n<think>\nThe pet of Ben is fox."
    assert found["assistant 4"] == "\n</think>\n\nfox<|im_end|>\n"


def test_thoughts_that_the_template_leaves_out_are_no_parts() -> None:
    chat = [CHAT[0], {**CHAT[1], "reasoning_content": "It is harbor."}, CHAT[2]]
    found = sections(FORGETS_THOUGHTS, chat)
    assert not any(name.startswith("thought") for name in found)
    assert found["assistant 2"] == "<|im_start|>assistant\nharbor<|im_end|>\n"


def test_documents_before_the_turns() -> None:
    found = sections(READER_TEMPLATE, CHAT, documents=DOCUMENTS)
    assert list(found) == ["other", "document 1", "document 2", "user 1", "assistant 2", "user 3"]
    assert found["document 1"] == "<|document|>letter: The home of Ada is harbor.<|end|>"
    assert found["document 2"] == "<|document|>The pet of Ben is fox.<|end|>"
    assert found["user 1"].startswith("<|user|>What")
    only = sections(READER_TEMPLATE, CHAT, "document", documents=DOCUMENTS[:1])
    assert only["document 1"] == "<|document|>letter: The home of Ada is harbor.<|end|>"


def test_documents_inside_a_turn() -> None:
    found = sections(IN_SYSTEM, CHAT, documents=["The home of Ada is harbor.", "The pet of Ben is fox."])
    assert "The home of Ada" in found["document 1"] and "The pet" not in found["document 1"]
    assert "The pet of Ben" in found["document 2"] and "home" not in found["document 2"]
    assert "What is the home" in found["user 1"] and "document" not in found["user 1"].lower()


def test_messages_that_look_like_marks_or_repeat() -> None:
    chat = [
        {"role": "user", "content": "user"},
        {"role": "assistant", "content": "user"},
        {"role": "user", "content": "user"},
    ]
    found = sections(CHATML, chat)
    assert list(found) == ["user 1", "assistant 2", "user 3"]


def test_a_template_without_a_place_for_documents_names_the_first() -> None:
    with pytest.raises(InputError, match="does not write document 1"):
        chat_text(tokenizer(CHATML), CHAT, documents=DOCUMENTS)


@pytest.mark.parametrize("documents", ["one text", [3], [{"title": "x"}], [""]])
def test_documents_that_cannot_be_used(documents: object) -> None:
    with pytest.raises(InputError, match=r"Document \d needs a text|Documents are a list"):
        chat_text(tokenizer(READER_TEMPLATE), CHAT, documents=documents)


def test_parts_travel_with_the_text() -> None:
    import pickle

    text = chat_text(tokenizer(CHATML), CHAT)
    assert isinstance(text, ChatText) and {part.level for part in text.parts} == {"turn", "section"}
    assert pickle.loads(pickle.dumps(text)).parts == text.parts
