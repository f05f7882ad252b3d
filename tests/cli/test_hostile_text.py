"""Nothing that came from outside steers the terminal, in any command."""

from __future__ import annotations

import shutil
import unicodedata
import warnings
from pathlib import Path

import pytest

from attention_analyzer.cli.main import COMMANDS
from tests.linguistics.treebank import treebank

#: Clears the screen, sets the title, reverses the line, rings, goes back; by escapes of seven and of eight bits.
EVIL = "\x1b[2J\x1b]0;owned\x07\u202egnp\u202c\x9b31m\b\x85\u200b\x7f"
TEXT = f"The dog {EVIL} saw a cat."
ENCODER, DECODER = ("-m", "demo-encoder"), ("-m", "demo-decoder")


def steers(text: str) -> list[str]:
    """The characters of an output that a terminal would obey, or that show nothing."""
    return [letter for letter in text if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf", "Cs")]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Annotated sentences, a corpus and a history, hostile wherever a string can stand."""
    (tmp_path / "bank.conllu").write_text(treebank(6).replace("dog", f"d{EVIL.replace(chr(0x85), '')}g"))
    (tmp_path / "more.jsonl").write_bytes(f'{{"text": "{"The dog saw " * 3}"}}\n{EVIL}\n'.encode())
    (tmp_path / f"evil{EVIL}.txt").write_text(f"{TEXT}\nThe bird ate a fish.\n")
    return tmp_path


def test_every_command_shows_hostile_text_as_marks(attn, files: Path, tmp_path: Path) -> None:
    store, evil = tmp_path / "store", tmp_path / f"evil{EVIL}.txt"
    bank, missing = tmp_path / "bank.conllu", tmp_path / f"gone{EVIL}.txt"
    runs = (
        ("demo", EVIL),
        ("show", TEXT, *ENCODER, "-o", tmp_path / f"page{EVIL}.html"),
        ("scan", TEXT, *ENCODER),
        ("figure", TEXT, *ENCODER, "--layer", 0, "--head", 0, "-o", tmp_path / f"a{EVIL}.png"),
        ("tokens", TEXT, *ENCODER),
        ("patterns", evil, *ENCODER),
        ("heads", "similarity", evil, *ENCODER),
        ("heads", "depth", evil, *ENCODER),
        ("programs", missing, *ENCODER),
        ("atlas", missing, *ENCODER, "-o", tmp_path / f"atlas{EVIL}"),
        ("parts", TEXT, *ENCODER),
        ("sources", missing),
        ("effects", TEXT, *DECODER),
        ("why", TEXT, *DECODER, "-l", 0, "-H", 0, "-q", 2, "-k", 1),
        ("writes", TEXT, *DECODER, "-l", 1, "-H", 0),
        ("compositions", "-m", f"gone{EVIL}"),
        ("contrast", missing, *DECODER, "-l", 1, "-H", 0),
        ("patch", TEXT, f"The cat {EVIL} saw a dog.", *DECODER),
        ("circuit", evil, *DECODER),
        ("mcp", missing),
        ("what-if", TEXT, *ENCODER),
        ("what-if", TEXT, *ENCODER, "--ablate", "L0H0"),
        ("what-if", TEXT, *DECODER, "--knock-out", "L0:2>1"),
        ("generate", TEXT, *DECODER, "--tokens", 3),
        ("relations", bank, *ENCODER),
        ("relations", bank, *ENCODER, "--examples", f"pos:{EVIL}"),
        ("corpus", "scan", bank, tmp_path / "more.jsonl", evil, "-o", store, *ENCODER),
        ("corpus", "heads", store),
        ("corpus", "heads", store, EVIL),
        ("corpus", "examples", store, "-l", 0, "-H", 0),
        ("corpus", "query", store, "FROM texts"),
        ("corpus", "query", store, f'SELECT piece AS "{EVIL}" FROM tokens'),
        ("corpus", "query", store, f"SELEKT {EVIL}"),
        ("corpus", "search", store, "--from", "any", "--to", f"d{EVIL}"),
        ("corpus", "search", store, "--from", "pos:NOUN", "--to", "any", "-l", 0, "-H", 1),
        ("corpus", "verify", store),
        ("compare", "demo-encoder", "demo-encoder", evil),
        ("track", tmp_path / f"history{EVIL}"),
        ("cache-advice", evil, *DECODER),
        ("doctor", "demo-encoder", TEXT),
        ("models",),
        ("cache",),
        ("app", EVIL),
        ("scan", missing, *ENCODER),
        ("scan", TEXT, "-m", EVIL),
        ("scan", TEXT, EVIL),
        (EVIL,),
    )
    assert {run[0] for run in runs} >= {name for name, *_ in COMMANDS}
    marked = 0
    for run in runs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, out, err = attn(*run)
        assert not steers(out), run
        assert not steers(err), run
        marked += "‹ESC›" in out + err
    assert marked >= 10, "hostile text was to be shown, and was not"
    shutil.rmtree(store)


def test_lines_and_indentation_stay() -> None:
    from attention_analyzer.cli.console import safe

    assert safe("one\n  two\n\n   \n\tthree") == "one\n  two\n\n   \n⇥three"
