"""Small transformers whose weights are set, so that what every head does is known exactly.

The residual stream has a place for everything that a head reads or writes: the token, its position, the token before
(written by a previous-token head), what is to be said, and a constant. A head is one matrix between two tokens' streams
(its scores) and one from a token's stream to what it writes. The models call transformers' attention interface as any
family does, so the tap hears them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.patterns.labels import HeadLabels

POSITIONS = 96
SPECIAL = ("<s>", "</s>", "<pad>")
MARKS = (".", ",")
WORDS = tuple(
    f"{start}{end}" for start in ("ba", "de", "fi", "go", "lu", "me", "ni", "po", "ra", "su") for end in "klmnrt"
)
VOCABULARY = (*SPECIAL, *MARKS, *WORDS)
V = len(VOCABULARY)
TOKEN, PLACE = slice(0, V), slice(V, V + POSITIONS)
BEFORE, SAY = slice(PLACE.stop, PLACE.stop + V), slice(PLACE.stop + V, PLACE.stop + 2 * V)
ONE = SAY.stop
WIDTH = ONE + 1
#: How much higher the score of what a head looks for is.
SHARP = 40.0


@dataclass(frozen=True)
class Head:
    """A head: its scores ``[query channel, key channel]`` and what it writes ``[read channel, written channel]``.

    Attributes:
        names: the patterns that it shows by construction.
        also: names that are no mistake: what follows from its own (the token before is a neighbor), and where a head
            rests in texts that do not ask for its own.
    """

    scores: Tensor
    names: frozenset[str]
    also: frozenset[str] = frozenset()
    writes: Tensor = field(default_factory=lambda: torch.zeros(WIDTH, WIDTH))


def nothing() -> Tensor:
    return torch.zeros(WIDTH, WIDTH)


def at(offset: int, names: set[str], also: set[str] = frozenset(), writes: Tensor | None = None) -> Head:  # type: ignore[assignment]
    """Looks ``offset`` tokens away."""
    scores = nothing()
    scores[PLACE, PLACE] = SHARP * torch.diag(torch.ones(POSITIONS - abs(offset)), offset)
    return Head(scores, frozenset(names), frozenset(also), nothing() if writes is None else writes)


def previous_token() -> Head:
    """… and writes down which token that is."""
    writes = nothing()
    writes[TOKEN, BEFORE] = torch.eye(V)
    return at(-1, {"previous_token"}, {"local_window"}, writes)


def sink() -> Head:
    scores = nothing()
    scores[ONE, PLACE.start] = SHARP
    return Head(scores, frozenset({"first_token"}), frozenset({"special_token", "vertical"}))


def window(width: int = 2) -> Head:
    scores = nothing()
    for offset in range(-width, width + 1):
        scores[PLACE, PLACE] += SHARP * torch.diag(torch.ones(POSITIONS - abs(offset)), offset)
    return Head(scores, frozenset({"local_window"}))


def uniform() -> Head:
    return Head(nothing(), frozenset({"broad"}))


def on_tokens(tokens: tuple[str, ...], names: set[str], also: set[str] = frozenset()) -> Head:  # type: ignore[assignment]
    scores = nothing()
    for token in tokens:
        scores[ONE, VOCABULARY.index(token)] = SHARP
    return Head(scores, frozenset(names), frozenset(also))


def duplicate_token() -> Head:
    """Looks at the same token elsewhere; where there is none, at everything but itself."""
    scores = nothing()
    scores[TOKEN, TOKEN] = SHARP * torch.eye(V)
    scores[PLACE, PLACE] = -2 * SHARP * torch.eye(POSITIONS)
    return Head(scores, frozenset({"duplicate_token"}), frozenset({"broad"}))


def induction() -> Head:
    """Looks at what followed the same token before, and says it; needs a previous-token head in an earlier layer."""
    scores, writes = nothing(), nothing()
    scores[TOKEN, BEFORE] = SHARP * torch.eye(V)
    writes[TOKEN, SAY] = torch.eye(V)
    return Head(scores, frozenset({"induction", "retrieval", "copying"}), frozenset({"broad"}), writes)


def random(seed: int, size: float = 1.0) -> Head:
    """Looks wherever chance would have it."""
    draw = torch.Generator().manual_seed(seed)
    scores = nothing()
    scores[TOKEN, TOKEN] = size * torch.randn(V, V, generator=draw)
    return Head(scores, frozenset(), frozenset({"broad", "mixed"}))


DECODER = (
    (
        previous_token(),
        at(0, {"self"}, {"local_window"}),
        at(-3, {"fixed_offset"}),
        sink(),
        duplicate_token(),
        window(),
        uniform(),
    ),
    (
        induction(),
        on_tokens(MARKS, {"punctuation"}),
        random(0),
        random(1, 4.0),
        random(2),
        uniform(),
        uniform(),
    ),
)
ENCODER = (
    (
        at(1, {"next_token"}, {"local_window"}),
        previous_token(),
        at(4, {"fixed_offset"}),
        sink(),
        on_tokens(("</s>",), {"separator"}, {"special_token", "vertical"}),
    ),
    (
        duplicate_token(),
        on_tokens(MARKS, {"punctuation"}),
        random(3),
        random(4, 4.0),
        uniform(),
    ),
)


class PlantedConfig(PreTrainedConfig):
    model_type = "planted"

    def __init__(self, is_decoder: bool = True, layers: int = 2, heads: int = 7, **kwargs) -> None:
        super().__init__(**kwargs)
        self.is_decoder = is_decoder
        self.num_hidden_layers, self.num_attention_heads = layers, heads
        self.vocab_size, self.max_position_embeddings = V, POSITIONS


class PlantedAttention(nn.Module):
    def __init__(self, config: PlantedConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer, config.is_decoder
        self.heads, self.num_key_value_groups = config.num_attention_heads, 1
        self.query, self.key, self.value = (nn.Linear(WIDTH, self.heads * WIDTH, bias=False) for _ in range(3))
        self.out = nn.Linear(self.heads * WIDTH, WIDTH, bias=False)

    def forward(self, stream: Tensor, mask: Tensor) -> Tensor:
        batch, size, _ = stream.shape
        parts = (
            part(stream).view(batch, size, self.heads, WIDTH).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        function = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        found, _ = function(self, *parts, mask, dropout=0.0, scaling=1.0, is_causal=False)
        return self.out(found.reshape(batch, size, -1))

    def plant(self, heads: tuple[Head, ...]) -> None:
        with torch.no_grad():
            self.query.weight.copy_(torch.cat([head.scores.T for head in heads]))
            self.key.weight.copy_(torch.eye(WIDTH).repeat(len(heads), 1))
            self.value.weight.copy_(torch.cat([head.writes.T for head in heads]))
            self.out.weight.copy_(torch.eye(WIDTH).repeat(1, len(heads)))


class _Planted(PreTrainedModel):
    config_class = PlantedConfig
    _supports_sdpa = True

    def __init__(self, config: PlantedConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(V, WIDTH)
        self.layers = nn.ModuleList(PlantedAttention(config, layer) for layer in range(config.num_hidden_layers))
        self.head = nn.Linear(WIDTH, V, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def _stream(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        size = input_ids.shape[1]
        stream = self.embedding(input_ids)
        stream[..., PLACE] += torch.eye(POSITIONS)[:size]
        seen = torch.ones(size, size, dtype=torch.bool)
        mask = (seen.tril() if self.config.is_decoder else seen)[None, None]
        if attention_mask is not None:
            mask = mask & attention_mask[:, None, None].bool()
        for layer in self.layers:
            stream = stream + layer(stream, mask)
        return stream

    def plant(self, layers: tuple[tuple[Head, ...], ...]) -> None:
        with torch.no_grad():
            self.embedding.weight.zero_()
            self.embedding.weight[:, TOKEN] = torch.eye(V)
            self.embedding.weight[:, ONE] = 1
            self.head.weight.zero_()
            self.head.weight[:, SAY] = torch.eye(V)
        for layer, heads in zip(self.layers, layers, strict=True):
            layer.plant(heads)


class PlantedForCausalLM(_Planted):
    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object) -> CausalLMOutput:
        return CausalLMOutput(logits=self.head(self._stream(input_ids, attention_mask)))


class PlantedModel(_Planted):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self._stream(input_ids, attention_mask))


def tokenizer(is_decoder: bool) -> PreTrainedTokenizerFast:
    """Words and marks; a decoder's texts begin with <s>, an encoder's end with </s> as well."""
    inside = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="<pad>"))
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    form = "<s> $A" if is_decoder else "<s> $A </s>"
    inside.post_processor = processors.TemplateProcessing(single=form, special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inside, bos_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>"
    )


def planted(is_decoder: bool = True, layers: tuple[tuple[Head, ...], ...] | None = None) -> AttentionAnalyzer:
    """An analyzer of the planted decoder or encoder."""
    heads = layers or (DECODER if is_decoder else ENCODER)
    config = PlantedConfig(is_decoder, len(heads), len(heads[0]), attn_implementation="sdpa")
    model = (PlantedForCausalLM if is_decoder else PlantedModel)(config)
    model.plant(heads)
    return AttentionAnalyzer(model.eval(), tokenizer(is_decoder), cache=False)


def texts(count: int = 8, seed: int = 0) -> list[str]:
    """Sentences of random words, in which some words come again."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sentences = []
        for _ in range(int(draw.integers(3, 6))):
            words = draw.choice(WORDS, int(draw.integers(7, 13))).tolist()
            words.insert(int(draw.integers(2, len(words) - 1)), ",")
            sentences.append(" ".join([*words, "."]))
        found.append(" ".join(sentences))
    return found


def random_model(family: str, sharpness: float, seed: int) -> AttentionAnalyzer:
    """Two layers of seven heads with fresh weights; queries and keys are multiplied to make scores sharp."""
    sizes = {"vocab_size": V, "hidden_size": 28, "intermediate_size": 31, "num_hidden_layers": 2}
    if family == "llama":
        sizes |= {"num_attention_heads": 7, "num_key_value_heads": 7, "head_dim": 4, "max_position_embeddings": 96}
        config, kind = transformers.LlamaConfig(**sizes), "LlamaForCausalLM"
    else:
        config = transformers.BertConfig(**sizes, num_attention_heads=7, max_position_embeddings=96)
        kind = "BertModel"
    analyzer = AttentionAnalyzer.from_config(config, tokenizer(family == "llama"), model_class=kind, seed=seed)
    with torch.no_grad():
        for name, weight in analyzer.model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "query.weight", "key.weight")):
                weight *= sharpness
    return analyzer


@dataclass(frozen=True)
class Score:
    """Labels against what was planted, over all heads and patterns."""

    found: int
    planted: int
    false: int

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false)

    @property
    def recall(self) -> float:
        return self.found / self.planted


def scored(found: HeadLabels, layers: tuple[tuple[Head, ...], ...]) -> Score:
    """How well labels tell what was planted."""
    labels = set(found.labels[["layer", "head", "pattern"]].itertuples(index=False, name=None))
    heads = {(layer, number): head for layer, row in enumerate(layers) for number, head in enumerate(row)}
    truth = {(*place, name) for place, head in heads.items() for name in head.names}
    known = truth | {(*place, name) for place, head in heads.items() for name in head.also}
    return Score(len(labels & truth), len(truth), len(labels - known))
