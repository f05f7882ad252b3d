"""One tokenizer per model, each made for what its model is meant to show.

Everyday words should be one piece, because an attention pattern over whole words can be read.
The stories are therefore repeated when the vocabularies are learned. Curly quotes become straight
and runs of white space become one space *inside* the tokenizer, so that a pasted text and a typed
one look the same to the model while offsets still point into the text as given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast, WhisperTokenizer

from demo_models.corpus import Corpus

STORY_REPEATS = 120
ENCODER_SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
DECODER_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}
TRANSLATOR_SPECIALS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
READER_SPECIALS = {"bos_token": "<s>", "eos_token": "<|end|>", "pad_token": "<pad>", "unk_token": "<unk>"}
READER_ROLES = ("system", "document", "user", "tool", "thought", "assistant")
#: Documents come first, as text of their own; a thought stands before the answer that it led to.
READER_TEMPLATE = """\
{{- bos_token -}}
{%- for document in documents or [] -%}
{{- '<|document|>' -}}
{%- if document.title -%}{{- document.title + ': ' -}}{%- endif -%}
{{- document.text + eos_token -}}
{%- endfor -%}
{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'tool', 'assistant'] -%}
{{- raise_exception('The roles are system, user, tool and assistant, not ' + message.role) -}}
{%- endif -%}
{%- if message.reasoning_content -%}{{- '<|thought|>' + message.reasoning_content + eos_token -}}{%- endif -%}
{{- '<|' + message.role + '|>' + message.content + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
READER_POSITIONS = 1024
CAPTION_SPECIALS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
ENCODER_VOCABULARY = 8192
DECODER_VOCABULARY = 6144


def tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    """Every training paragraph once, those of the stories `STORY_REPEATS` times."""
    for novel in corpus.novels.train:
        yield from novel
    for _ in range(STORY_REPEATS):
        for story in corpus.stories.train:
            yield from story


def encoder_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Lower-casing WordPiece with BERT's special tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=ENCODER_SPECIALS["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([*_straight_quotes(), normalizers.BertNormalizer(lowercase=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        texts,
        WordPieceTrainer(
            vocab_size=ENCODER_VOCABULARY,
            special_tokens=list(ENCODER_SPECIALS.values()),
            limit_alphabet=120,
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **ENCODER_SPECIALS,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def decoder_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Case-keeping byte-level BPE: any text can be written, `<s>` opens every sequence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([*_straight_quotes(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=DECODER_VOCABULARY,
            special_tokens=list(DECODER_SPECIALS.values()),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A",
        pair="<s> $A <s> $B:1",
        special_tokens=[("<s>", tokenizer.token_to_id("<s>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **DECODER_SPECIALS,
        pad_token=DECODER_SPECIALS["eos_token"],
        model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
    )


def translator_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """One piece per lower-cased word, digit and mark: the closed vocabulary of the date task."""
    vocabulary = {piece: i for i, piece in enumerate([*TRANSLATOR_SPECIALS.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=TRANSLATOR_SPECIALS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    # Digits and hyphens are joined again without spaces: 1984-03-23.
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>",
        special_tokens=[("</s>", tokenizer.token_to_id("</s>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **TRANSLATOR_SPECIALS,
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )


def reader_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """One piece per lower-cased word and mark, a special token per role, and a chat template with documents."""
    roles = [f"<|{role}|>" for role in READER_ROLES]
    vocabulary = {piece: i for i, piece in enumerate([*READER_SPECIALS.values(), *roles, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=READER_SPECIALS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.WordPiece()  # a space between words, none before a mark
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A",
        pair="<s> $A $B",
        special_tokens=[("<s>", tokenizer.token_to_id("<s>"))],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **READER_SPECIALS,
        additional_special_tokens=roles,
        model_max_length=READER_POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.chat_template = READER_TEMPLATE
    return fast


def caption_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token per lower-cased word and comma, between `<s>` and `</s>`."""
    vocabulary = {piece: i for i, piece in enumerate([*CAPTION_SPECIALS.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=CAPTION_SPECIALS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **CAPTION_SPECIALS,
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    )


def digit_tokenizer() -> WhisperTokenizer:
    """Whisper's tokenizer with the ten digits, and of its marks those that a model of one language has."""
    space = "\u0120"  # how byte-level BPE writes the space before a word
    pieces = [*"0123456789", space, *(space + digit for digit in "0123456789")]
    marks = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    return WhisperTokenizer(
        vocab={piece: i for i, piece in enumerate([*pieces, marks[0]])},
        merges=[(space, digit) for digit in "0123456789"],
        pad_token=marks[0],
        additional_special_tokens=marks[1:],
        model_max_length=32,
    )


def _straight_quotes() -> list[normalizers.Normalizer]:
    pairs = {"“": '"', "”": '"', "‘": "'", "’": "'"}
    return [normalizers.Replace(curly, straight) for curly, straight in pairs.items()]
