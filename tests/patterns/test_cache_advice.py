"""What caches keep, against loops over whole matrices; roles of planted heads; refusals, picture, command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.patterns.cache_advice import CacheAdvice
from attention_analyzer.patterns.recent_weight import RecentWeight
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility
from tests.patterns import planted as plan


@pytest.fixture(scope="module")
def advice() -> CacheAdvice:
    return plan.planted().cache_advice(plan.texts(5), first=(1, 3), last=(5, 11))


@pytest.mark.parametrize(("queries", "keys"), [(29, 29), (7, 29)])
@pytest.mark.parametrize("count", [1, 5, 31])
def test_recent_weight(count: int, queries: int, keys: int) -> None:
    draw = torch.Generator().manual_seed(0)
    shift = keys - queries
    weights = torch.rand(2, 3, queries, keys, generator=draw).tril(shift)
    found = DenseWeights(weights, Visibility(queries, keys, upper=shift)).reduce([RecentWeight(count)], diagonal=shift)
    for query in range(queries):
        own = query + shift
        expected = weights[:, :, query, max(own - count + 1, 0) : own + 1].sum(-1)
        assert torch.allclose(found[RecentWeight(count)][:, :, query], expected, atol=1e-6)


def test_kept_weight_is_that_of_whole_matrices() -> None:
    analyzer = shared_keys()
    texts = plan.texts(3)
    found = analyzer.cache_advice(texts, first=(1, 4), last=(3, 13)).table.set_index(["layer", "head", "first", "last"])
    records = analyzer.record(texts)
    for (layer, head, first, last), row in found[::5].iterrows():
        per_text, least = [], 1.0
        for record in records:
            weights = record.weights(layer, head).double().numpy()
            kept = []
            for query in range(first + last, len(weights)):
                inside = [key < first or query - last < key <= query for key in range(len(weights))]
                kept.append(weights[query][inside].sum() / weights[query].sum())
            per_text.append(np.mean(kept))
            least = min(least, *kept)
        assert row["kept"] == pytest.approx(np.mean(per_text), abs=1e-5)
        assert row["least"] == pytest.approx(least, abs=1e-5)
        assert row["texts"] == 3


def shared_keys() -> AttentionAnalyzer:
    """Six query heads on three key heads."""
    config = transformers.LlamaConfig(
        vocab_size=plan.V,
        hidden_size=30,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=10,
        max_position_embeddings=96,
        initializer_range=0.7,
    )
    return AttentionAnalyzer.from_config(config, plan.tokenizer(True), model_class="LlamaForCausalLM", seed=1)


def test_planted_heads_stream_or_retrieve(advice: CacheAdvice) -> None:
    roles = advice.heads.set_index(["layer", "head"])
    for place, first, last in [((0, 0), 1, 5), ((0, 1), 1, 5), ((0, 2), 1, 5), ((0, 3), 1, 5), ((0, 5), 1, 5)]:
        assert tuple(roles.loc[place, ["role", "first", "last"]]) == ("streaming", first, last), place
        assert roles.loc[place, "kept"] == pytest.approx(1, abs=1e-6)
    assert advice.of("retrieval") == [(1, 0)]
    for place in [(0, 4), (0, 6), (1, 5)]:
        assert roles.loc[place, "role"] == "full"
    assert roles.loc[(1, 0), "retrieval"] > 0.8


def test_larger_caches_keep_more(advice: CacheAdvice) -> None:
    for _, caches in advice.table.groupby(["layer", "head"]):
        kept = caches.pivot_table(index="first", columns="last", values="kept")
        # Means are over the queries that a cache does not hold, so a larger one has fewer of them.
        assert (kept.diff(axis=1).iloc[:, 1] > -0.1).all()


def test_what_is_saved() -> None:
    heads = pd.DataFrame(
        {"stack": "decoder", "layer": 0, "head": range(4), "cache_head": [0, 0, 1, 1]}
        | {"first": [1, 4, 1, 1], "last": 16, "cut": [True, True, False, False]}
    )
    saved = CacheAdvice(pd.DataFrame(), heads).saved(100)
    assert saved == pytest.approx(1 - (20 + 100) / 200)
    assert CacheAdvice(pd.DataFrame(), heads).saved(10) == 0


def test_a_cache_is_cut_only_if_all_heads_that_share_it_stream() -> None:
    found = shared_keys().cache_advice(plan.texts(3), first=(4,), last=(16,), share=0.5)
    for _, group in found.heads.groupby(["layer", "cache_head"]):
        assert len(group) == 2
        assert group["cut"].eq(group["role"].eq("streaming").all()).all()
    assert 0 < found.heads["role"].eq("streaming").sum() < len(found.heads)


def test_what_has_no_cache_or_too_little_text_is_refused() -> None:
    analyzer = plan.planted()
    with pytest.raises(UnsupportedModelError, match="is an encoder"):
        plan.planted(is_decoder=False).cache_advice(plan.texts(3))
    with pytest.raises(InputError, match=r"smallest cache \(92 tokens\), but 0 are"):
        analyzer.cache_advice(plan.texts(3), first=(1,), last=(91,))
    with pytest.raises(InputError, match="but 2 are"):
        analyzer.cache_advice([*plan.texts(2), "bak"], first=(1,), last=(4,))
    with pytest.raises(InputError, match="one or more first and last keys"):
        analyzer.cache_advice(plan.texts(3), first=(0,))
    with pytest.raises(InputError, match="not str"):
        analyzer.cache_advice("one text")


def test_the_picture(advice: CacheAdvice) -> None:
    figure = advice.plot()
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == len(advice.heads)
    assert "1+5" in shown
    assert len(figure.axes[1].lines) == len(advice.heads) + 1


def test_the_command(tmp_path: Path, capsys, monkeypatch) -> None:
    from attention_analyzer.cli import main

    file = tmp_path / "long.txt"
    file.write_text("\n".join(plan.texts(3)), encoding="utf-8")
    analyzer = shared_keys()
    analyzer.model.save_pretrained(tmp_path / "model")
    analyzer.tokenizer.save_pretrained(tmp_path / "model")
    sizes = ["--first", "4", "--last", "16", "--last", "32"]
    arguments = ["cache-advice", str(file), "-m", str(tmp_path / "model"), *sizes]
    for more, expected in ([], "heads."), (["-o", str(tmp_path / "kept.csv")], "24 rows written"):
        monkeypatch.setattr("sys.argv", ["attn", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        assert expected in out
    assert set(pd.read_csv(tmp_path / "kept.csv")["last"]) == {16, 32}


def test_advice_says_by_which_share_and_of_which_model() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    texts = [f"Tom saw a red bird and Sue saw it {number} times." for number in range(3)]
    found = analyzer.cache_advice(texts, first=[1], last=[2], share=0.8)
    assert (found.share, found.model_name) == (0.8, "demo-decoder")
