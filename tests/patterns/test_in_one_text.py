"""What one text allows to be said of a head: certain names, else facts, else nothing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.patterns.in_one_text import remarks
from attention_analyzer.patterns.labels import untrained_model
from attention_analyzer.patterns.measure import measure_record
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.programs.replace import ProgramPattern
from attention_analyzer.programs.text_facts import RuleText

FOX = "The quick brown fox jumps over the lazy dog"
TEXTS = [
    FOX,
    "The old man walked down the road, and his dog ran ahead of him. It was a warm evening in June.",
    "When the rain stopped, the children went out to play; the streets were still wet. Nobody saw the cat.",
]


@cache
def analyzer(name: str) -> AttentionAnalyzer:
    return AttentionAnalyzer(name, cache=False)


def heads(*rows: Tensor) -> AttentionRecord:
    size = rows[0].shape[-1]
    return AttentionRecord.from_weights([torch.stack(rows)], [f"t{index}" for index in range(size)], causal=False)


def on(offset: int, weights: Tensor) -> Tensor:
    """Rows with these weights on one offset, the rest spread evenly."""
    size = len(weights)
    target = (torch.arange(size) + offset) % size
    rows = ((1 - weights) / (size - 1))[:, None].expand(size, size).clone()
    rows[torch.arange(size), target] = weights
    return rows


def said(record: AttentionRecord) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(record.sites[0].heads)]
    for remark in remarks(record):
        found[remark.head].append(remark.name if remark.certain else remark.text)
    return found


def test_a_name_needs_certainty_and_a_fact_does_not() -> None:
    size = 40
    steady = torch.full((size,), 0.62)
    wavering = torch.where(torch.arange(size) % 20 < 13, 0.97, 0.05)  # 0.65 on average, and nobody knows the next one
    weak = torch.full((size,), 0.3)
    even = torch.full((size,), 1 / size)
    found = said(heads(on(-1, steady), on(-1, wavering), on(-1, weak), on(-1, even)))
    assert found[0] == ["previous_token"]
    assert found[1][0].endswith("on the token before") and "%" in found[1][0]
    assert found[2] == ["30% on the token before"]
    assert found[3] == ["broad"]


def test_a_name_that_most_heads_bear_says_nothing() -> None:
    even, previous = on(-1, torch.full((40,), 1 / 40)), on(-1, torch.full((40,), 0.8))
    assert said(heads(*[even] * 4, previous)) == [["broad"]] * 4 + [["previous_token"]]
    assert said(heads(*[even] * 8, previous)) == [[]] * 8 + [["previous_token"]]


def test_a_head_that_rests_somewhere_is_not_said_to_be_broad() -> None:
    resting = torch.full((40, 40), 0.75 / 39)
    resting[:, 0] = 0.25
    assert said(heads(resting)) == [["25% on t0"]]


def test_the_viewer_no_longer_calls_most_heads_broad() -> None:
    found = remarks(analyzer("demo-encoder").record(FOX))
    assert not [remark for remark in found if remark.name == "broad"]
    named = {(remark.site, remark.head): remark.name for remark in found if remark.certain}
    assert named[1, 2] == "next_token"
    facts = [remark for remark in found if not remark.certain]
    assert len(facts) >= 10 and all("%" in remark.text for remark in facts)


def test_errors_are_those_of_values_written_out() -> None:
    record = analyzer("demo-encoder").record(TEXTS[1])
    site, found = measure_record(record)[1]
    number = next(index for index, pattern in enumerate(found.patterns) if pattern.name == "previous_token")
    weights = record.weights(layer=site.layer).double()
    before = weights.diagonal(-1, 1, 2)
    assert found.error is not None
    expected = before.std(-1) / np.sqrt(before.shape[-1])
    assert torch.allclose(found.error[number], expected.cpu(), atol=1e-6)


def test_patterns_without_values_have_no_error() -> None:
    record = analyzer("demo-encoder").record(TEXTS[1])
    for _, found in measure_record(record):
        assert found.error is not None
        for pattern, error in zip(found.patterns, found.error, strict=True):
            if type(pattern).values is Pattern.values:
                assert bool(error.isnan().all()), pattern.name


@pytest.mark.parametrize("sharpness", [1.0, 20.0])
def test_random_weights_stay_at_the_nominal_rate_of_false_names(sharpness: float) -> None:
    false, tests = 0, 0
    for seed in range(3):
        model = untrained_model(analyzer("demo-encoder").loaded, seed)
        with torch.no_grad():
            for name, parameter in model.model.named_parameters():
                if "query" in name:
                    parameter.mul_(sharpness)
        for text in TEXTS[1:]:
            record = AttentionAnalyzer.of(model, cache=False).record(text)
            found = remarks(record)
            false += len([each for each in found if each.certain and each.name not in ("broad", "vertical")])
            tests += 36
    assert false <= 0.05 * tests


@pytest.mark.parametrize("name", ["demo-encoder", "demo-decoder"])
def test_names_and_programs_do_not_contradict_each_other(name: str) -> None:
    """What a head is named for, its program's weights show as well, measured by the same pattern."""
    texts = [f"{one} {two}" for one in TEXTS for two in TEXTS][:6]
    programs = analyzer(name).programs(texts)
    labels = analyzer(name).label_heads(texts, probes=False).labels
    sites = {site.layer: site for site in programs.fitted.sites}
    records = analyzer(name).record(texts)
    checked = 0
    for layer, rows in labels.groupby("layer"):
        strengths = []
        for record in records:
            seen = record.weights(layer=int(layer)).amax(0) > 0
            axes = (RuleText.of(record.tokens, record.tokens, 0),)
            heads = [
                ProgramPattern(program, axes).rows(slice(0, len(seen)), seen)
                for program in programs.fitted.programs[sites[int(layer)]]
            ]
            foretold = AttentionRecord.from_weights([torch.stack(heads)], record.tokens)
            table = foretold.patterns()
            strengths.append(table.set_index(["head", "pattern"])["strength"])
        mean = pd.concat(strengths).groupby(level=[0, 1]).mean()
        for row in rows.itertuples():
            if row.pattern in ("vertical", "copying", "mixed"):
                continue
            assert mean[row.head, row.pattern] > 0.75 * row.strength, (layer, row.head, row.pattern)
            checked += 1
    assert checked >= 5
