"""Chats as texts: what a template writes, tokenized once, and what is refused."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.models.loading import from_config
from attention_analyzer.text.chat import ChatText, chat_text
from attention_analyzer.text.tokenization import tokenize

WORDS = "<pad> <s> </s> <|user|> <|assistant|> hello what is a cat ? it an animal tools".split()
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}"
    "{{ raise_exception('Only user and assistant are known.') }}{% endif %}"
    "{{ ' <|' + m.role + '|> ' + m.content | trim + ' ' }}{% endfor %}"
    "{% if tools %}{{ 'tools' }}{% endif %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PARTS = (
    "{{ bos_token }}{% for m in messages %}{{ ' <|' + m.role + '|> ' }}"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text + ' ' }}{% endif %}{% endfor %}{% endfor %}"
)
FORGETFUL = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content + ' ' }}{% endif %}{% endfor %}"
CHAT = [
    {"role": "user", "content": "what is a cat ?"},
    {"role": "assistant", "content": [{"type": "text", "text": "it is "}, {"type": "text", "text": "an animal"}]},
]
WRITTEN = "<s> <|user|> what is a cat ? <|assistant|> it is an animal".split()


def tokenizer(template: str | None = PLAIN) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
    )
    made.chat_template = template
    return made


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    config = LlamaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=len(WORDS),
        max_position_embeddings=64,
        eos_token_id=2,
        pad_token_id=0,
    )
    loaded = from_config(config, tokenizer(), model_class=LlamaForCausalLM)
    return AttentionAnalyzer.of(loaded, cache=False)


@pytest.mark.parametrize("template", [PLAIN, PARTS])
def test_a_chat_has_the_tokens_that_the_library_gives_it(template: str) -> None:
    made = tokenizer(template)
    found = tokenize(made, [CHAT]).tokens[0]
    assert [made.convert_ids_to_tokens(number) for number in found.ids] == WRITTEN
    assert [piece for piece, special in zip(found.pieces, found.is_special, strict=True) if special] == [
        "<s>",
        "<|user|>",
        "<|assistant|>",
    ]
    plain = [
        {"role": each["role"], "content": text}
        for each, text in zip(CHAT, ("what is a cat ?", "it is an animal"), strict=True)
    ]
    if template == PLAIN:
        assert list(found.ids) == made.apply_chat_template(plain, tokenize=True, return_dict=False)


def test_a_chat_stands_wherever_a_text_may(analyzer: AttentionAnalyzer) -> None:
    record = analyzer.record(messages=CHAT)
    assert list(record.tokens.pieces) == WRITTEN
    assert analyzer.record(CHAT).tokens == record.tokens
    several = analyzer.record([CHAT, "what is a cat ?", CHAT[:1]])
    assert [len(each.tokens) for each in several] == [len(WRITTEN), 6, 7]
    assert (several[0].heads()["entropy"] - record.heads()["entropy"]).abs().max() < 1e-5
    assert len(analyzer.heads(CHAT)) == len(record.heads())
    assert analyzer.token_importance(CHAT).tokens == record.tokens.pieces
    assert analyzer.compare(texts=CHAT, other_texts=CHAT[:1]).to_frame().shape[0] == 4
    assert "after 'animal'" in str(analyzer.what_if(CHAT, ablate=(0, 1)))


def test_an_answer_begins_after_the_template_or_continues_the_last_message(analyzer: AttentionAnalyzer) -> None:
    answered = analyzer.generate(messages=CHAT[:1], max_new_tokens=3)
    assert list(answered.tokens.pieces[:8]) == [*WRITTEN[:7], "<|assistant|>"]
    assert answered.notes["prompt_tokens"] == 8
    continued = analyzer.generate(CHAT, max_new_tokens=3)
    assert continued.notes["prompt_tokens"] == len(WRITTEN)
    offered = analyzer.chat(CHAT[:1], tools=[{"type": "function"}], add_generation_prompt=True)
    assert analyzer.record(offered).tokens.pieces[-2:] == ("tools", "<|assistant|>")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "Messages are a list"),
        ("hello", "Messages are a list"),
        ([{"content": "hello"}], "Message 0 needs a role"),
        ([*CHAT, {"role": "user"}], "Message 2 needs a content"),
        ([{"role": "user", "content": 3}], "Message 0 needs a content"),
        ([{"role": "user", "content": [{"type": "image"}]}], "type 'image'"),
        ([{"role": "critic", "content": "hello"}], "Only user and assistant are known"),
    ],
)
def test_what_is_no_chat_is_refused(messages: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chat_text(tokenizer(), messages)


def test_a_message_that_the_template_leaves_out_is_named() -> None:
    with pytest.raises(InputError, match=r"leaves out message 1 \(role 'assistant'\)"):
        chat_text(tokenizer(FORGETFUL), CHAT)


def test_without_a_template_messages_are_refused() -> None:
    with pytest.raises(InputError, match="no chat template"):
        tokenize(tokenizer(None), [CHAT])


def test_a_second_start_token_is_warned_of() -> None:
    made = tokenizer()
    with pytest.warns(UserWarning, match="begins with <s>"):
        assert tokenize(made, ["<s> hello"]).tokens[0].ids[:2] == (1, 1)
    assert tokenize(made, [chat_text(made, CHAT)]).tokens[0].ids.count(1) == 1


def test_one_chat_among_texts_is_told_apart_from_several(analyzer: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match=r"\[messages\]"):
        analyzer.similarity([*CHAT, *CHAT, *CHAT])
    assert repr(ChatText("hello")) != repr("hello")
