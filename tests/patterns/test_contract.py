"""What every entry of PATTERNS promises: range, definition, planted case, chance on even weights, no padding."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attention_analyzer import Tokens
from attention_analyzer.errors import SelectionError
from attention_analyzer.patterns import PATTERNS, pattern_named
from attention_analyzer.patterns.measure import Strengths, measure_batch, measure_weights
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.token_context import batched_token_context, token_context_of, with_moves
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility

N, HEADS = 47, 3
#: Read from values, not from attention weights: see test_copying.py.
FROM_VALUES = {"copying"}
FROM_WEIGHTS = [pattern for pattern in PATTERNS if pattern.name not in FROM_VALUES]
NAMES = [pattern.name for pattern in FROM_WEIGHTS]
_WORDS = "bil dor fen gak hul jim kev lop mur nis pag rot suv tam wex yod zir".split()


def tokens(size: int = N, seed: int = 0) -> Tokens:
    """[CLS], three sentences of few words that come again, and a [SEP] in the middle and at the end."""
    draw = torch.Generator().manual_seed(seed)
    pieces = [_WORDS[number] for number in torch.randint(len(_WORDS), (size,), generator=draw)]
    for end in (size // 4, size // 2 - 1, size - 2):
        pieces[end] = "."
    pieces[3 * size // 5] = ","
    special = [index in {0, size // 2, size - 1} for index in range(size)]
    for index in range(size):
        if special[index]:
            pieces[index] = "[CLS]" if index == 0 else "[SEP]"
    separators = [flag and index > 0 for index, flag in enumerate(special)]
    return Tokens(tuple(pieces), is_special=tuple(special), is_separator=tuple(separators))


def frame(size: int = N, seed: int = 0) -> TokenContext:
    """… with a needle: its tokens are asked for by the last queries."""
    shown = tokens(size, seed)
    found = with_moves(token_context_of(shown, shown, 0))
    asked, held = torch.full((1, size), -1), torch.full((1, size), -1)
    held[0, 5:9] = torch.arange(4)
    asked[0, size - 5 : size - 1] = torch.arange(4)
    return TokenContext(0, found.groups, {**found.labels, "needle": (asked, held)}, found.moves)


def rows_of(allowed: Tensor) -> Tensor:
    """Each query's weight spread evenly over what it may look at; over everything where that is nothing."""
    allowed = allowed.float() + (allowed.sum(-1, keepdim=True) == 0)
    return allowed / allowed.sum(-1, keepdim=True)


def offset(by: int) -> Tensor:
    return rows_of(torch.diag(torch.ones(N - abs(by)), by))


def matched(name: str, among: str) -> Tensor:
    of_queries, of_keys = (part[0] for part in frame().labels[name])
    same = (of_queries[:, None] == of_keys[None]) & (of_queries[:, None] >= 0)
    return rows_of({"all": same, "other": same & ~torch.eye(N, dtype=torch.bool), "earlier": same.tril(-1)}[among])


def on(keys: Tensor) -> Tensor:
    return rows_of(keys.expand(N, N))


def random_weights(seed: int, sharpness: float, size: int = N) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(HEADS, size, size, generator=draw)).softmax(-1)


PLANTED = {
    "self": lambda: offset(0),
    "previous_token": lambda: offset(-1),
    "next_token": lambda: offset(1),
    "fixed_offset": lambda: offset(-5),
    "induction": lambda: matched("token_before", "earlier"),
    "duplicate_token": lambda: matched("token", "other"),
    "retrieval": lambda: matched("needle", "all"),
    "first_token": lambda: on(frame().groups["first"]),
    "separator": lambda: on(frame().groups["separator"]),
    "special_token": lambda: on(frame().groups["special"]),
    "punctuation": lambda: on(frame().groups["punctuation"]),
    "local_window": lambda: rows_of(torch.ones(N, N).triu(-2).tril(2)),
    "same_sentence": lambda: matched("sentence", "all"),
    "vertical": lambda: on(torch.arange(N)[None] == 29),
    "broad": lambda: torch.full((N, N), 1 / N),
    # Sharp, with a different key for every query and no order among them.
    "mixed": lambda: (
        torch.eye(N)[torch.randperm(N, generator=torch.Generator().manual_seed(1))] * 0.6
        + 0.4 * torch.eye(N)[torch.randperm(N, generator=torch.Generator().manual_seed(2))]
    ),
}


def measured(weights: Tensor, patterns: list[Pattern] = FROM_WEIGHTS, of: TokenContext | None = None) -> Strengths:
    weights = weights[None] if weights.dim() == 2 else weights
    causal = not bool(weights.triu(1).any())
    seen = Visibility(weights.shape[1], weights.shape[2], upper=0 if causal else None)
    return measure_batch(DenseWeights(weights[None], seen), of or frame(), patterns).of_text(0)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_it_is_defined(pattern: Pattern) -> None:
    assert re.search(r"\(.*\d{4}", type(pattern).__doc__ or ""), "a definition has a source"
    assert pattern.title
    assert 0 < pattern.threshold <= 1
    assert pattern_named(pattern.name) is pattern


def test_names_are_unique_and_every_pattern_has_its_planted_case() -> None:
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS)
    assert set(PLANTED) == set(NAMES)
    with pytest.raises(SelectionError, match="no pattern 'nosuch'"):
        pattern_named("nosuch")


@pytest.mark.parametrize("name", NAMES)
def test_it_fires_on_its_planted_case(name: str) -> None:
    found = measured(PLANTED[name]())
    index = [pattern.name for pattern in found.patterns].index(name)
    assert found.strength[index, 0] > (0.75 if name != "mixed" else 0.5)
    assert found.corrected[index, 0] >= found.patterns[index].threshold


@given(
    seed=st.integers(0, 2**16),
    sharpness=st.floats(0, 30),
    size=st.integers(12, 61),
    causal=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_strengths_and_controls_lie_between_0_and_1(seed: int, sharpness: float, size: int, causal: bool) -> None:
    weights = random_weights(seed, sharpness, size)
    if causal:
        weights = weights.tril()
        weights /= weights.sum(-1, keepdim=True).clamp(min=1e-30)
    found = measured(weights, of=frame(size, seed))
    for part in (found.strength, found.chance, found.position):
        assert ((part > -1e-5) & (part < 1 + 1e-5) | part.isnan()).all()
    assert found.strength.isnan().logical_not().any(1).all() or size < 20
    assert (found.corrected < 1 + 1e-5).logical_or(found.corrected.isnan()).all()


@pytest.mark.parametrize("causal", [False, True])
def test_even_weights_give_what_chance_gives(causal: bool) -> None:
    even = rows_of(torch.ones(N, N).tril() if causal else torch.ones(N, N))
    found = measured(even)
    for index, pattern in enumerate(found.patterns):
        if pattern.has_chance:
            assert found.strength[index, 0] == pytest.approx(float(found.chance[index, 0]), abs=1e-6), pattern.name
            assert found.corrected[index, 0] <= 1e-5, pattern.name
    assert [p.name for p, value in zip(found.patterns, found.corrected[:, 0], strict=True) if value >= p.threshold] == [
        "broad"
    ]


def test_shuffled_rows_come_to_chance() -> None:
    """The chance level is the mean of what shuffling every row gives."""
    draw = torch.Generator().manual_seed(0)
    row = random_weights(3, 2.0)[0]
    shuffled = torch.stack([row[i][torch.randperm(N, generator=draw)] for _ in range(200) for i in range(N)])
    means = measured(shuffled.view(200, N, N)).strength.mean(1)
    found = measured(row)
    for index, pattern in enumerate(found.patterns):
        # Patterns that pick the best of several places are above it, as the best of several draws is.
        if pattern.has_chance and pattern.name not in {"fixed_offset", "vertical"}:
            assert means[index] == pytest.approx(float(found.chance[index, 0]), abs=0.02), pattern.name


def test_a_batch_says_what_each_text_says_alone() -> None:
    sizes = (31, 47, 23)
    shown = [tokens(size, seed) for seed, size in enumerate(sizes)]
    alone = [random_weights(seed, 3.0, size) for seed, size in enumerate(sizes)]
    padded = torch.rand(3, HEADS, max(sizes), max(sizes))  # padding rows hold anything
    valid = torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None]
    for text, weights in enumerate(alone):
        padded[text, :, : sizes[text]] = torch.nn.functional.pad(weights, (0, max(sizes) - sizes[text]))
    seen = Visibility(max(sizes), max(sizes), key_seen=valid)
    together = measure_batch(
        DenseWeights(padded, seen), batched_token_context(shown, shown, 0), FROM_WEIGHTS, valid=valid, key_valid=valid
    )
    for text, weights in enumerate(alone):
        dense = DenseWeights(weights[None], Visibility(sizes[text], sizes[text]))
        single = measure_weights(dense, token_context_of(shown[text], shown[text], 0), FROM_WEIGHTS)
        batch = together.of_text(text)
        assert [pattern.name for pattern in batch.patterns] == [pattern.name for pattern in single.patterns]
        for name in ("strength", "chance", "position"):
            left, right = getattr(batch, name), getattr(single, name)
            assert torch.allclose(left, right, atol=1e-6, equal_nan=True), (text, name)
        for name, places in single.places.items():
            assert torch.equal(batch.places[name][..., : places.shape[-1]], places)


def test_a_text_without_a_group_says_nothing_of_it() -> None:
    plain = Tokens.of_pieces(_WORDS * 2)
    shown = [tokens(34), plain]
    found = measure_batch(
        DenseWeights(torch.full((2, 1, 34, 34), 1 / 34), Visibility(34, 34)), batched_token_context(shown, shown, 0)
    )
    by_name = {pattern.name: found.strength[index] for index, pattern in enumerate(found.patterns)}
    for name in ("punctuation", "separator", "special_token", "same_sentence"):
        assert not by_name[name][0].isnan()
        assert by_name[name][1].isnan()
    assert not by_name["first_token"].isnan().any()


@pytest.mark.parametrize("name", ["induction", "duplicate_token", "punctuation", "same_sentence"])
def test_a_head_that_goes_by_position_alone_is_told_by_the_moved_control(name: str) -> None:
    """It looks where the pattern is in another text of the same layout, so its own text has nothing to do with it."""
    weights = PLANTED[name]().roll((20, 20), (0, 1))
    found = measured(weights)
    index = [pattern.name for pattern in found.patterns].index(name)
    assert found.corrected[index, 0] < found.patterns[index].threshold


def test_given_weights_are_left_alone() -> None:
    weights = random_weights(0, 1.0)
    before = weights.clone()
    measured(weights)
    assert torch.equal(weights, before)
