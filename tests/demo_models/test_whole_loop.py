"""Each training script from raw text to a published folder, on a text and a plan that take seconds."""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from demo_models import cards, corpus, decoder, encoder, evaluation, history, publishing, tokenization, translator

pytestmark = [
    pytest.mark.usefixtures("uncompiled"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]

STEPS = 4


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A text folder of the documented form: an archive of novels and a list of stories."""
    folder = tmp_path_factory.mktemp("texts")
    generator = random.Random(0)
    words = "the a dog cat girl boy saw took her his red old house river and then said went .".split()

    def text(paragraphs: int) -> str:
        return "\n\n".join(" ".join(generator.choices(words, k=23)) + "." for _ in range(paragraphs))

    with tarfile.open(folder / "novels.tar.xz", "w:xz") as archive:
        for number in range(10):
            content = text(19).encode()
            member = tarfile.TarInfo(f"novel_{number}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / "tinystories_1000.json").write_text(json.dumps([text(2) for _ in range(100)]))
    return folder


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything is published into an empty folder, after a few steps and few measurements."""
    folder = tmp_path / "bundled"
    monkeypatch.setattr(publishing, "BUNDLED", folder)
    monkeypatch.setattr(history, "FOLDER", folder / "demo-decoder-history")
    monkeypatch.setattr(tokenization, "STORY_REPEATS", 1)
    monkeypatch.setattr(evaluation, "HELD_OUT_WINDOWS", 2)
    monkeypatch.setattr(evaluation, "LONG_WINDOWS", 1)
    monkeypatch.setattr(evaluation, "DATE_EXAMPLES", 3)
    monkeypatch.setattr(evaluation, "EARLY", 5)
    monkeypatch.setattr(evaluation, "LATE", 9)
    monkeypatch.setattr(corpus, "PASSAGES_PER_NOVEL", 1)
    monkeypatch.setattr(corpus, "PASSAGES_OF_STORIES", 1)
    monkeypatch.setattr(cards, "CURVE_ROWS", 2)
    for script in (encoder, decoder, translator):
        monkeypatch.setattr(script, "PLAN", replace(script.PLAN, rate=((0, 0.0), (1, 1.0), (STEPS, 0.0))))
    for script in (encoder, decoder):
        monkeypatch.setattr(script, "TOKENS_PER_STEP", 1024)
    monkeypatch.setattr(translator, "EXAMPLES_PER_STEP", 5)
    return folder


def _run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def _check_folder(folder: Path) -> None:
    assert json.loads((folder / "measured.json").read_text())["steps"] == STEPS
    assert f"{STEPS} steps" in (folder / "README.md").read_text("utf-8")
    assert len((folder / "loss.csv").read_text().split()) == 1 + STEPS
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir())


def test_encoder_from_text_to_card(texts: Path, bundled: Path, tmp_path: Path, monkeypatch) -> None:
    _run(encoder, monkeypatch, "--data", texts, "--scratch", tmp_path / "work")
    folder = bundled / "demo-encoder"
    _check_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert model(**tokenizer("the old dog", return_tensors="pt")).logits.shape == (1, 5, len(tokenizer))


def test_decoder_from_text_to_card_and_history(texts: Path, bundled: Path, tmp_path: Path, monkeypatch) -> None:
    stages = [decoder.Stage(until, length, 0.25, 0.25) for until, length in ((2, 64), (STEPS, 128))]
    monkeypatch.setattr(decoder, "STAGES", stages)
    monkeypatch.setattr(decoder, "SECOND_STAGE", 2)
    monkeypatch.setattr(decoder, "saved_moments", lambda: [0, 1, STEPS])
    _run(decoder, monkeypatch, "--data", texts, "--scratch", tmp_path / "work")
    _check_folder(bundled / "demo-decoder")
    table = pd.read_parquet(history.FOLDER / "history.parquet")
    assert sorted(set(table["step"])) == [0, 1, STEPS]
    chosen = json.loads((history.FOLDER / "checkpoints.json").read_text())
    for name, step in chosen.items():
        assert f"`{name}/`: after step {step}" in (history.FOLDER / "README.md").read_text("utf-8")
    for folder in (bundled / "demo-decoder", history.FOLDER / "early", history.FOLDER / "middle"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model(**tokenizer("the old dog", return_tensors="pt")).logits.shape[-1] == len(tokenizer)


def test_translator_to_card(bundled: Path, tmp_path: Path, monkeypatch) -> None:
    _run(translator, monkeypatch, "--scratch", tmp_path / "work")
    folder = bundled / "demo-translator"
    _check_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert model.generate(**tokenizer("may the third", return_tensors="pt"), max_new_tokens=3).shape[0] == 1


def test_a_folder_without_the_texts_is_refused_with_their_names(tmp_path: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        _run(encoder, monkeypatch, "--data", tmp_path, "--scratch", tmp_path / "work")
    assert "novels.tar.xz and tinystories_1000.json" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
