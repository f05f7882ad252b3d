"""The ``attn`` command as a person types it, in a process of its own where start-up and streams matter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.cli import main

SENTENCE = "The quick brown fox jumps over the lazy dog."
MODEL = ["-m", "all-MiniLM-L6-v2"]


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['attn', '--help']\nfrom attention_analyzer.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'transformers', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.strip().endswith("[]")
    for name, _, _ in main.COMMANDS:
        assert f"\n  {name}" in result.stdout


@pytest.mark.parametrize("name", [name for name, _, _ in main.COMMANDS])
def test_every_command_has_help(attn, name: str) -> None:
    code, out, _ = attn(name, "--help")
    assert code == 0
    assert "Usage: attn" in out


def test_version(attn) -> None:
    from attention_analyzer import __version__

    assert attn("--version")[:2] == (0, f"attn {__version__}\n")


def test_scan_to_the_terminal(attn) -> None:
    code, out, _ = attn("scan", SENTENCE, *MODEL, "--layer", "2", "--sort", "-entropy")
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("2 ")]
    assert code == 0
    assert len(rows) == 12
    entropies = [float(row[5]) for row in rows]
    assert entropies == sorted(entropies, reverse=True)


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".csv", pd.read_csv),
        (".parquet", pd.read_parquet),
        (".json", lambda path: pd.DataFrame(json.loads(path.read_text()))),
    ],
)
def test_scan_to_a_file_has_every_metric(attn, tmp_path: Path, suffix: str, read) -> None:
    path = tmp_path / f"heads{suffix}"
    assert attn("scan", SENTENCE, *MODEL, "-o", path)[0] == 0
    expected = AttentionAnalyzer("all-MiniLM-L6-v2").record(SENTENCE).heads()
    written = read(path)
    assert list(written.columns) == list(expected.columns)
    assert (written["entropy"] - expected["entropy"]).abs().max() < 1e-5


def test_scan_reads_files_and_standard_input(attn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    (tmp_path / "notes.txt").write_text(SENTENCE, encoding="utf-8")
    _, direct, _ = attn("scan", SENTENCE, *MODEL)
    _, from_file, _ = attn("scan", tmp_path / "notes.txt", *MODEL)
    monkeypatch.setattr(sys, "stdin", io.StringIO(SENTENCE))
    _, from_stream, _ = attn("scan", "-", *MODEL)
    assert direct == from_file == from_stream


def test_lines_are_averaged(attn, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("The cat sat.\n\nA dog ran home.\n", encoding="utf-8")
    assert attn("scan", tmp_path / "two.txt", "--lines", *MODEL, "-o", tmp_path / "two.csv")[0] == 0
    parts = [AttentionAnalyzer("all-MiniLM-L6-v2").heads(text) for text in ("The cat sat.", "A dog ran home.")]
    mean = (parts[0]["entropy"] + parts[1]["entropy"]) / 2
    assert (pd.read_csv(tmp_path / "two.csv")["entropy"] - mean).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["scan", ""], 2, "The text is empty"),
        (["scan", "hi", "-o", "heads.xls"], 2, "suffix '.xls'"),
        (["scan", "hi", "--layer", "9"], 2, "no layer 9; the layers are 0 to 5"),
        (["scan", "hi", "--sort", "beauty"], 2, "no column 'beauty'"),
        (["scan", "missing.txt"], 2, "There is no file missing.txt"),
        (["scan", "word " * 600], 2, "602 tokens"),
        (["figure", "hi", "-o", "head.gif"], 2, "suffix '.gif'"),
        (["figure", "hi", "--head", "3"], 2, "--head needs --layer"),
        (["figure", "hi", "--layer", "1", "--head", "77", "-o", "x.png"], 2, "no head 77"),
        (["figure", "hi", "--metric", "beauty"], 2, "no metric 'beauty'"),
        (["figure", "hi", "--query", "1"], 2, "need --view"),
        (["figure", "hi", "--view", "{not json", "-o", "x.png"], 2, "is not valid JSON"),
        (["figure", "hi", "--view", "map", "-o", "x.png"], 2, "map"),
        (["generate", "hi"], 1, "cannot generate text"),
    ],
)
def test_mistakes_end_in_one_clear_line(attn, tmp_path: Path, monkeypatch, arguments, code: int, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    ended, _, err = attn(*arguments, *MODEL)
    assert ended == code
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_is_never_replaced(attn) -> None:
    code, out, err = attn("scan", "hi", "-m", "nobody/nothing")
    assert (code, out) == (1, "")
    assert "available here: " in err


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("which", [[], ["-l", "2"], ["-l", "2", "-H", "5"], ["--view", "arcs", "-l", "2"]])
def test_figures(attn, tmp_path: Path, suffix: str, which: list[str]) -> None:
    path = tmp_path / f"figure{suffix}"
    code, out, _ = attn("figure", SENTENCE, *MODEL, *which, "-o", path)
    assert code == 0
    assert str(path) in out
    start = path.read_bytes()[:200]
    assert {".png": b"PNG", ".svg": b"<svg", ".pdf": b"%PDF"}[suffix] in (
        start if suffix != ".svg" else path.read_bytes()
    )
    if suffix == ".png":
        with Image.open(path) as picture:
            assert min(picture.size) > 300


def test_a_view_is_drawn_as_its_state_says(attn, tmp_path: Path) -> None:
    code, _, err = attn("figure", SENTENCE, *MODEL, "--view", "matrix", "-l", 2, "-H", 5, "--query", 3, "--log",
                        "-o", tmp_path / "named.svg")  # fmt: skip
    assert code == 0, err
    state = json.dumps({"view": "matrix", "site": "encoder.self.2", "head": 5, "query": 3, "scale": "log"})
    attn("figure", SENTENCE, *MODEL, "--view", state, "-o", tmp_path / "stated.svg")
    record = AttentionAnalyzer("all-MiniLM-L6-v2").record(SENTENCE)
    record.figure(view=json.loads(state)).savefig(tmp_path / "called.svg")
    found = [(tmp_path / f"{name}.svg").read_text().count("<path") for name in ("named", "stated", "called")]
    assert found[0] == found[1] == found[2] > 10


def test_demo_leaves_table_and_figures(attn, tmp_path: Path) -> None:
    code, out, _ = attn("demo", "-o", tmp_path / "demo")
    assert code == 0
    assert "most focused" in out
    files = {path.suffix for path in (tmp_path / "demo").iterdir()}
    assert {".csv", ".png"} <= files


def test_models_are_listed(attn) -> None:
    _, out, _ = attn("models")
    assert "all-MiniLM-L6-v2" in out
    assert "demo-decoder" in out


def test_generation_is_shown_token_by_token(attn, tmp_path: Path) -> None:
    code, out, _ = attn("generate", "Once upon a time", "-m", "demo-decoder", "-n", "5", "--save", tmp_path / "g.attn")
    assert code == 0
    assert out.count("0.") >= 5
    from attention_analyzer import AttentionRecord

    assert len(AttentionRecord.load(tmp_path / "g.attn").tokens) > 5


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m attention_analyzer.cli.main models | head -0"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in result.stderr


# Files


def test_texts_of_windows_lose_their_mark_and_name_their_encoding(attn, tmp_path: Path) -> None:
    table = tmp_path / "heads.json"
    expected = AttentionAnalyzer("demo-decoder", cache=False).heads(["A café.\nIt is naïve.\n"])
    windows = "\ufeffA café.\r\nIt is naïve.\r\n"
    for encoding, more in (("utf-8", ()), ("utf-16-le", ()), ("cp1252", ("--encoding", "cp1252"))):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes(windows.encode(encoding) if encoding != "cp1252" else windows[1:].encode(encoding))
        code, _, error = attn("scan", path, "-m", "demo-decoder", "-o", table, *more)
        assert (code, error) == (0, "")
        found = pd.read_json(table)
        assert found["entropy"].to_list() == pytest.approx(expected["entropy"].to_list(), abs=1e-6)
    code, _, error = attn("scan", tmp_path / "cp1252.txt", "-m", "demo-decoder")
    assert code == 2
    assert "line 1: the line is not UTF-8 text; if it should read 'A café.', set the encoding cp1252" in error


def test_records_stand_in_for_a_text(attn, tmp_path: Path) -> None:
    record = AttentionAnalyzer("demo-decoder", cache=False).record("A cat and a dog.")
    path = record.save(tmp_path / "one.attn")
    table = tmp_path / "heads.json"
    assert attn("scan", path, "-o", table)[0] == 0
    assert pd.read_json(table)["entropy"].to_list() == pytest.approx(record.heads()["entropy"].to_list(), abs=1e-6)
    assert attn("figure", path, "-l", "1", "-o", tmp_path / "layer.png")[0] == 0
    page = tmp_path / "both.html"
    assert attn("show", path, "--other", path, "-o", page)[0] == 0
    assert page.stat().st_size > 100_000
    code, _, error = attn("scan", path, "-m", "demo-decoder")
    assert code == 2
    assert "is a saved record, so no model runs; leave out --model" in error
    code, _, error = attn("tokens", path, "-m", "demo-decoder")
    assert code == 2
    assert "is a record, not a text" in error
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    code, _, error = attn("show", tmp_path / "bad.safetensors")
    assert code == 1
    assert "is not a record, or is cut off" in error
    code, _, error = attn("show", "none.safetensors")
    assert "There is no file none.safetensors" in error


def test_svg_text_and_missing_fonts_on_the_command_line(attn, tmp_path: Path) -> None:
    path = tmp_path / "f.svg"
    drawn = ["figure", "A cat.", "-m", "demo-decoder", "-l", "0", "--head", "0"]
    assert attn(*drawn, "-o", path, "--svg-text")[0] == 0
    assert ">cat</text>" in path.read_text(encoding="utf-8")
    code, _, error = attn(*drawn, "-o", tmp_path / "f.png", "--svg-text")
    assert (code, error) == (2, f"attn: --svg-text is for SVG files, but {tmp_path / 'f.png'} is none.\n")
    # A character of the newest or no script, which no font has.
    code = "import sys; sys.argv = sys.argv[1:]\nfrom attention_analyzer.cli.main import main\nmain()"
    drawn[1] = "A \U000323b0."
    command = [sys.executable, "-c", code, "attn", *drawn, "-o", str(tmp_path / "g.png")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stderr
    lines = [line for line in said.splitlines() if "font" in line]
    assert len(lines) == 1
    assert lines[0].startswith("attn: No font of this machine has")


def test_h_is_help_and_summaries_are_whole(attn) -> None:
    from attention_analyzer.cli.main import COMMANDS

    code, out, _ = attn("-h")
    assert code == 0
    assert out == attn("--help")[1]
    listed = dict(re.findall(r"^  ([a-z-]+)  +(\S.*)$", out.partition("Commands:")[2], re.MULTILINE))
    assert listed.keys() == {name for name, _, _ in COMMANDS}
    assert all(summary.endswith(".") and not summary.endswith("...") for summary in listed.values()), listed


@pytest.mark.parametrize(
    "command", [("figure",), ("scan",), ("what-if",), ("corpus", "examples"), ("corpus", "search"), ("heads", "depth")]
)
def test_h_is_help_in_every_command(attn, command: tuple[str, ...]) -> None:
    code, out, _ = attn(*command, "-h")
    assert (code, out) == attn(*command, "--help")[:2]
    assert out.startswith(f"Usage: attn {' '.join(command)} ")


def test_h_and_a_number_is_still_the_head(attn, tmp_path: Path) -> None:
    pictures = [tmp_path / f"{name}.png" for name in ("old", "new", "other")]
    for path, option in zip(pictures, (("-h", 5), ("-H", 5), ("-H", 4)), strict=True):
        assert attn("figure", SENTENCE, *MODEL, "-l", 2, *option, "-o", path)[0] == 0
    old, new, other = (path.read_bytes() for path in pictures)
    assert old == new != other
