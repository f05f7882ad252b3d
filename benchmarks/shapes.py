"""The models and texts that are measured: published shapes with random weights, and words by number."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from attention_analyzer.models.loaded import LoadedModel

VOCABULARY = 1000
LAYERS, HEADS, WIDTH = 6, 12, 384
SHAPES = {
    "bert": f"BERT shape, {LAYERS} layers × {HEADS} heads × {WIDTH}, every token sees every token",
    "llama": f"Llama shape, {LAYERS} layers × {HEADS} heads in groups of 3 × {WIDTH}, causal",
}


@cache
def tokenizer():
    """One token a word; the first hundred words count as punctuation."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {_word(number): number for number in range(VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token=_word(0)))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), map(_word, range(4)), strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


def _word(number: int) -> str:
    marks = '.,;:!?-()"'
    if number < 4:
        return f"[{number}]"  # a tokenizer finds its special tokens inside of words, too
    return marks[number % 10] * (1 + number // 10) if 10 <= number < 110 else f"w{number}"


def text(tokens: int, seed: int = 0) -> str:
    numbers = torch.randint(4, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(seed))
    return " ".join(map(_word, numbers.tolist()))


def model(shape: str, positions: int, backend: str = "sdpa") -> LoadedModel:
    """A model of that shape, always with the same weights."""
    from transformers import AutoModel, BertConfig, LlamaConfig

    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": max(positions, 512),
        "pad_token_id": 3,
        "attn_implementation": backend,
        # Random weights of the usual size make all weights alike; larger ones give heads something to do.
        "initializer_range": 0.08,
    }
    torch.manual_seed(0)
    if shape == "bert":
        made = AutoModel.from_config(BertConfig(**common), add_pooling_layer=False)
    else:
        made = AutoModel.from_config(LlamaConfig(**common, num_key_value_heads=HEADS // 3))
    return LoadedModel(made.eval(), tokenizer(), shape)


def save_llama(folder: Path) -> None:
    """The causal model with its tokenizer as a checkpoint, for tools that load one themselves."""
    from transformers import AutoModelForCausalLM

    made = model("llama", 8192).model
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_config(made.config)
    whole.model.load_state_dict(made.state_dict())
    whole.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
