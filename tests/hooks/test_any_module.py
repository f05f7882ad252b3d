"""Modules of any make, also as the root: their weights against a softmax written out, their outputs bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.modules import module as torch_modules

from attention_analyzer import AttentionAnalyzer, AttentionRecord, capture
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.hooks.verification import verify_model

TOKENS, MEMORY, CHANNELS, HEADS = 7, 5, 12, 2


def record(module: nn.Module, **inputs: Any) -> AttentionRecord:
    """A record of a module whose outputs are the same bits with and without."""
    assert verify_model(module, inputs).holds
    return AttentionAnalyzer(module, cache=False).record(inputs=inputs)


def check(weights: AttentionRecord, *expected: Tensor) -> None:
    assert len(weights.entries) == len(expected)
    for entry, right in zip(weights.entries, expected, strict=True):
        torch.testing.assert_close(entry.weights.full(), right, atol=1e-5, rtol=0)


def states(tokens: int = TOKENS, channels: int = CHANNELS, seed: int = 1) -> Tensor:
    return torch.randn(1, tokens, channels, generator=torch.Generator().manual_seed(seed))


def test_nothing_is_left_in_torch() -> None:
    record(Block(fused, 3).eval(), x=states())
    assert not torch_modules._has_any_global_hook()


# torch's own modules


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"add_bias_kv": True, "add_zero_attn": True}, {"kdim": 9, "vdim": 10}], ids=str
)
def test_multihead_attention(batch_first: bool, need_weights: bool, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=batch_first, **options).eval()
    query, key = states(), states(MEMORY, options.get("kdim", CHANNELS), 2)
    value = states(MEMORY, options.get("vdim", CHANNELS), 3)
    if not batch_first:
        query, key, value = (side.transpose(0, 1) for side in (query, key, value))
    _, expected = module(query, key, value, need_weights=True, average_attn_weights=False)
    check(record(module, query=query, key=key, value=value, need_weights=need_weights), expected[0])


def encoder(**options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, **options)
    nested = bool(options.get("batch_first")) and not options.get("norm_first")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).eval()


def part_by_part(module: nn.TransformerEncoder, source: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """The weights of each layer, from the layers run as their source reads."""
    found = []
    for layer in module.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        given = layer.norm1(source) if layer.norm_first else source
        attended, weights = layer.self_attn(given, given, given, attn_mask=mask, average_attn_weights=False)
        found.append(weights[0])
        if layer.norm_first:
            source = source + attended
            source = source + layer._ff_block(layer.norm2(source))
        else:
            source = layer.norm1(source + attended)
            source = layer.norm2(source + layer._ff_block(source))
    return found


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_stays_on_its_fused_path(norm_first: bool, batch_first: bool, activation: str) -> None:
    module = encoder(norm_first=norm_first, batch_first=batch_first, activation=activation)
    source = states() if batch_first else states().transpose(0, 1)
    seen = record(module, src=source)
    check(seen, *part_by_part(module, source))
    assert [site.module for site in seen.sites] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert seen.exact
    torch.backends.mha.set_fastpath_enabled(False)
    try:  # the usual path, under the same names
        assert AttentionAnalyzer(module, cache=False).record(inputs={"src": source}).sites == seen.sites
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_a_fused_encoder_with_a_causal_mask() -> None:
    module = encoder(batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    check(record(module, src=states(), mask=mask, is_causal=True), *part_by_part(module, states(), mask))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("norm_first", [False, True])
def test_padding_in_a_fused_encoder_is_never_seen(norm_first: bool) -> None:
    """Where norms come last torch drops padding before the first layer (nested tensors), else it masks it."""
    module = encoder(batch_first=True, norm_first=norm_first)
    padding = torch.tensor([[False] * 4 + [True] * 3])
    seen = record(module, src=states(), src_key_padding_mask=padding)
    for entry, expected in zip(seen.entries, part_by_part(module, states()[:, :4]), strict=True):
        weights = entry.weights.full()[:, :4]
        torch.testing.assert_close(weights[..., :4], expected, atol=1e-5, rtol=0)
        assert not weights[..., 4:].any()


def test_a_decoder_and_both_together() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(CHANNELS, HEADS, 16, batch_first=True)
    module = nn.TransformerDecoder(layer, 2).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    seen = record(module, tgt=states(), memory=states(MEMORY), tgt_mask=mask)
    assert [(site.kind, site.layer) for site in seen.sites] == [("self", 0), ("cross", 0), ("self", 1), ("cross", 1)]
    first = module.layers[0]
    assert isinstance(first, nn.TransformerDecoderLayer)
    _, expected = first.self_attn(states(), states(), states(), attn_mask=mask, average_attn_weights=False)
    torch.testing.assert_close(seen.entries[0].weights.full(), expected[0], atol=1e-5, rtol=0)
    both = nn.Transformer(CHANNELS, HEADS, 1, 1, 16, batch_first=True).eval()
    names = [site.name for site in record(both, src=states(MEMORY), tgt=states()).sites]
    assert names == ["encoder.self.0", "decoder.self.0", "decoder.cross.0"]


# Blocks of one's own


class Block(nn.Module):
    """Attention in one of the ways in which people write it; heads are split but never declared."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], heads: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attend, self.parts = attend, heads
        self.projections = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(*self.split(x))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[batch, token, head, channel]``, or without the heads' axis where there is one."""
        parts = self.projections(x).chunk(3, -1)
        if self.parts > 1:
            parts = tuple(part.unflatten(-1, (self.parts, -1)) for part in parts)
        return parts[0], parts[1], parts[2]

    def expected(self, x: Tensor) -> Tensor:
        query, key, _ = (part if self.parts > 1 else part[:, :, None] for part in self.split(x))
        scores = torch.einsum("bihd,bjhd->bhij", query, key) / query.shape[-1] ** 0.5
        return scores.softmax(-1)[0].detach()


def heads_first(*sides: Tensor) -> list[Tensor]:
    return [side.transpose(1, 2) for side in sides]


def scaled(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled_dot_product_attention(*heads_first(query, key, value))


def by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = heads_first(query, key, value)
    return scaled(query, key).softmax(-1) @ value


def by_einsum(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("bihd,bjhd->bhij", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), value)


def heads_last(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("bihd,bjhd->bijh", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bijh,bjhd->bihd", scores.softmax(2), value)


def keys_first(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = heads_first(query, key, value)
    return value.transpose(-1, -2) @ scaled(key, query).div(1).softmax(-2)


def permuted_copy(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = heads_first(query, key, value)
    weights = scaled(query, key).softmax(-1).permute(0, 2, 3, 1).contiguous()
    return weights.permute(0, 3, 1, 2) @ value


def no_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled(query, key).softmax(-1) @ value


def one_matrix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled(query[0], key[0]).softmax(-1) @ value[0]


@pytest.mark.parametrize(
    ("attend", "heads"),
    [
        (fused, 3),
        (by_products, 3),
        (by_einsum, 3),
        (heads_last, 3),
        (keys_first, 3),
        (permuted_copy, 3),
        (no_heads, 1),
        (scaled_dot_product_attention, 1),
        (one_matrix, 1),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_block_of_ones_own(attend: Callable[..., Tensor], heads: int, inside: bool) -> None:
    block = Block(attend, heads).eval()
    seen = record(nn.Sequential(nn.Identity(), block), input=states()) if inside else record(block, x=states())
    check(seen, block.expected(states()))
    assert seen.sites[0].module == ("1" if inside else "")


def test_query_heads_that_share_keys() -> None:
    """Grouped heads on an axis of their own, as einsum code has them."""

    class Grouped(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            weights = torch.einsum("bghid,bgjd->bghij", query, key).softmax(-1)
            return torch.einsum("bghij,bgjd->bghid", weights, value)

    torch.manual_seed(0)
    query, key, value = torch.randn(1, 2, 3, TOKENS, 4), torch.randn(1, 2, MEMORY, 4), torch.randn(1, 2, MEMORY, 4)
    expected = torch.einsum("bghid,bgjd->bghij", query, key).softmax(-1)[0].flatten(0, 1)
    check(record(Grouped(), query=query, key=key, value=value), expected)


def test_two_attentions_whose_softmaxes_come_before_both_products() -> None:
    class Two(Block):
        def forward(self, x: Tensor) -> Tensor:
            query, key, value = heads_first(*self.split(x))
            one, other = scaled(query, key).softmax(-1), scaled(key, query).softmax(-1)
            return one @ value + other @ value

    block = Two(fused, 3).eval()
    query, key, _ = heads_first(*block.split(states()))
    check(record(block, x=states()), block.expected(states()), scaled(key, query).softmax(-1)[0].detach())


def test_heads_before_the_batch_are_told_by_the_number_of_heads() -> None:
    class HeadsFirst(Block):
        def forward(self, x: Tensor) -> Tensor:
            query, key, value = (side.permute(2, 0, 1, 3) for side in self.split(x))
            return scaled_dot_product_attention(query, key, value)

    block = HeadsFirst(fused, 3).eval()
    with pytest.raises(UnsupportedModelError, match="give the module an attribute num_heads"):
        AttentionAnalyzer(block, cache=False).record(inputs={"x": states()})
    block.num_heads = 3  # type: ignore[assignment]
    check(record(block, x=states()), block.expected(states()))


def test_flex_attention_with_changed_scores_and_a_block_mask() -> None:
    slopes = torch.tensor([0.1, 0.3])

    def changed(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(score / 2) * 2 - (query - key) * slopes[head]

    class Flex(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
            mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, TOKENS, TOKENS, device="cpu")
            return flex_attention(query, key, value, score_mod=changed, block_mask=mask, enable_gqa=True)

    torch.manual_seed(0)
    query, key, value = torch.randn(1, 2, TOKENS, 8), torch.randn(1, 1, TOKENS, 8), torch.randn(1, 1, TOKENS, 8)
    scores = torch.tanh(scaled(query, key) / 2) * 2
    distance = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    scores = (scores - distance * slopes[:, None, None]).masked_fill(distance < 0, -torch.inf)
    seen = AttentionAnalyzer(Flex(), cache=False).record(inputs={"query": query, "key": key, "value": value})
    check(seen, scores.softmax(-1)[0])


# What cannot be shown is said as it is


class Unshown(Block):
    def forward(self, x: Tensor) -> Tensor:
        query, key, value = heads_first(*self.split(x))
        return (scaled(query, key).softmax(-1)[..., None] * value[:, :, None]).sum(-2)


class WithoutSoftmax(Block):
    def forward(self, x: Tensor) -> Tensor:
        query, key, value = heads_first(*self.split(x))
        weights = scaled(query, key).exp()
        return weights / weights.sum(-1, keepdim=True) @ value


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Unshown(fused, 3), "computes a softmax in the model itself"),
        (WithoutSoftmax(fused, 3), "takes exponentials of products of activations in the model itself"),
        (nn.Sequential(nn.Linear(CHANNELS, 4), nn.ReLU(), nn.Linear(4, 3)), "ran without any attention"),
    ],
)
def test_no_attention_is_said_only_where_there_is_none(module: nn.Module, message: str) -> None:
    name = "input" if isinstance(module, nn.Sequential) else "x"
    with pytest.raises(UnsupportedModelError, match=message):
        AttentionAnalyzer(module.eval(), cache=False).record(inputs={name: states()})


def test_a_router_is_no_attention() -> None:
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(CHANNELS, 4)

        def forward(self, x: Tensor) -> Tensor:
            experts = torch.stack([x * size for size in range(4)], dim=2)
            return torch.einsum("bte,bted->btd", self.gate(x).softmax(-1), experts)

    with pytest.raises(UnsupportedModelError, match="computes a softmax in the model itself"):
        AttentionAnalyzer(Router().eval(), cache=False).record(inputs={"x": states()})


def test_inputs_that_the_model_cannot_take_are_named() -> None:
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    wrong = states(channels=CHANNELS + 1)
    with pytest.raises(InputError, match=r"could not run on the inputs given \(query \(1, 7, 13\)"):
        AttentionAnalyzer(module, cache=False).record(inputs={"query": wrong, "key": wrong, "value": wrong})
    with pytest.raises(InputError, match="unexpected keyword argument 'x'"):
        AttentionAnalyzer(module, cache=False).record(inputs={"x": wrong})


@pytest.mark.parametrize("memory", [MEMORY, TOKENS + 2])
def test_keys_of_another_sequence_have_no_distance_to_the_queries(memory: int) -> None:
    class Reader(Block):
        def forward(self, x: Tensor, memory: Tensor) -> Tensor:  # type: ignore[override]
            query, key, value = heads_first(self.split(x)[0], *self.split(memory)[1:])
            return scaled(query, key).softmax(-1) @ value

    torch.manual_seed(0)
    torchs = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    keys = states(memory, seed=2)
    for seen in (
        record(Reader(fused, 3).eval(), x=states(), memory=keys),
        record(torchs, query=states(), key=keys, value=keys),
    ):
        assert [site.kind for site in seen.sites] == ["cross"]
        table = seen.heads()
        assert table[["self_weight", "distance", "previous_weight"]].isna().all(axis=None)
        torch.testing.assert_close(
            torch.tensor(table["max_weight"].to_numpy(), dtype=torch.float32),
            seen.entries[0].weights.full().amax((-2, -1)),
        )


def test_keys_that_were_pooled_are_no_tokens_of_the_queries() -> None:
    class Pooled(Block):
        def forward(self, x: Tensor) -> Tensor:
            query, key, value = heads_first(*self.split(x))
            key, value = (side.unflatten(2, (-1, 2)).mean(3) for side in (key, value))
            return scaled(query, key).softmax(-1) @ value

    table = record(Pooled(fused, 3).eval(), x=states(8)).heads()
    assert table[["self_weight", "distance"]].isna().all(axis=None)
    assert table["entropy"].notna().all()


@pytest.mark.parametrize("options", [{"add_zero_attn": True}, {"add_bias_kv": True}], ids=str)
def test_keys_that_torch_appends_move_no_token(options: dict[str, bool]) -> None:
    """They come last, so the queries are not the last keys."""
    torch.manual_seed(0)
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True, **options).eval()
    seen = record(module, query=states(), key=states(), value=states())
    assert seen.entries[0].diagonal is None


def test_a_part_that_is_compiled_runs_as_it_was_written() -> None:
    block = Block(by_products, 3).eval()
    seen = record(nn.Sequential(nn.Identity(), torch.compile(block, backend="eager")), input=states())
    check(seen, block.expected(states()))


class Mixed(Block):
    """Heads are mixed after the softmax, which leaves no weights of one head."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], heads: int) -> None:
        super().__init__(attend, heads)
        self.mixing = nn.Parameter(torch.full((3, 3), 1 / 3))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = heads_first(*self.split(x))
        weights = torch.einsum("bhij,hg->bgij", scaled(query, key).softmax(-1), self.mixing)
        return (weights @ value).transpose(1, 2).flatten(2)


class Exponential(Block):
    def forward(self, x: Tensor) -> Tensor:
        query, key, value = heads_first(*self.split(x))
        scores = scaled(query, key)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        return (weights / weights.sum(-1, keepdim=True) @ value).transpose(1, 2).flatten(2)


class Whole(Block):
    def forward(self, x: Tensor) -> Tensor:
        return by_products(*self.split(x)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("hidden", [Mixed, Exponential])
def test_a_layer_that_cannot_be_shown_is_named(hidden: type[Block]) -> None:
    layer = hidden(fused, 3)
    module = nn.Sequential(Whole(fused, 3), layer).eval()
    seen = record(module, input=states())
    assert [site.module for site in seen.sites] == ["0"]
    assert seen.notes["not_captured"] == ["1"]
    with capture(module) as captured, torch.no_grad():
        module(states())
    assert captured.records[0].notes["not_captured"] == ["1"]
    with capture(layer) as captured, torch.no_grad():
        layer(states())
    with pytest.raises(UnsupportedModelError, match="softmax"):
        captured.heads()


def test_experts_are_no_layer_that_is_missing() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.gate = Whole(fused, 3), nn.Linear(CHANNELS, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attend(x)
            return torch.einsum("bte,betd->btd", self.gate(x).softmax(-1), torch.stack([x, -x], 1))

    assert "not_captured" not in record(Experts().eval(), x=states()).notes


@pytest.mark.parametrize("attend", [scaled_dot_product_attention, no_heads])
def test_heads_that_stand_in_the_query_axis_are_refused(attend: Callable[..., Tensor]) -> None:
    class OneKeyHead(Block):
        num_heads = 3

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = self.split(x)
            return attend(query.transpose(1, 2).flatten(1, 2)[:, None], key[:, None, :, 0], value[:, None, :, 0])

    with pytest.raises(UnsupportedModelError, match="OneKeyHead attends with 21 queries of one head to 7 keys"):
        AttentionAnalyzer(OneKeyHead(fused, 3).eval(), cache=False).record(inputs={"x": states()})
