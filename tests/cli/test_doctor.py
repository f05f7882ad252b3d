"""``attn doctor``: the proof on a model and text of the user's own, and what it says when the proof fails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, FNetConfig, FNetModel

from attention_analyzer.cli.doctor import findings, verdict
from attention_analyzer.hooks.verification import VerificationReport

HOLDS = VerificationReport(
    identical=True,
    untouched=True,
    exact=True,
    deviation=2e-7,
    row_error=1e-7,
    backends=("sdpa",),
    forms=("causal",),
    sites=(),
    not_captured=(),
)


def test_the_proof_holds_for_the_bundled_decoder(attn) -> None:
    code, out, _ = attn("doctor", "demo-decoder", "The keys are on the table.")
    assert code == 0
    for said in (
        "Environment",
        "transformers",
        "sdpa",
        "grouped queries",
        "causal",
        "bit-identical",
        "Verification passed",
    ):
        assert said in out


def test_a_model_without_attention_is_refused_with_the_reason(attn, tmp_path: Path) -> None:
    tokenizer_of(tmp_path)
    FNetModel(FNetConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, intermediate_size=8)).save_pretrained(
        tmp_path
    )
    code, _, err = attn("doctor", str(tmp_path), "a b c")
    assert code == 1
    assert "without any attention" in err


def test_a_checkpoint_that_computes_nan_is_reported(attn, tmp_path: Path) -> None:
    tokenizer_of(tmp_path)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=40, **sizes))
    with torch.no_grad():
        model.encoder.layer[0].attention.self.query.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    code, _, err = attn("doctor", str(tmp_path), "a b c")
    assert code == 1
    assert "not finite" in err


def test_what_fails_is_named() -> None:
    for change, said in (({"identical": False}, "CHANGED"), ({"untouched": False}, "CHANGED")):
        broken = dataclasses.replace(HOLDS, **change)
        assert "FAILED" in verdict(broken)
        assert any(said in line for _, line in findings(broken))
    assert "passed" in verdict(HOLDS)
    assert any("model's own computation" in line for _, line in findings(dataclasses.replace(HOLDS, exact=False)))


def tokenizer_of(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate("[PAD] a b c d".split())}, "[PAD]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]").save_pretrained(folder)
