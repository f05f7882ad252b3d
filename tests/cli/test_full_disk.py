"""Every command that writes a file, on a disk that is full or may not be written to: one sentence, and the old file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.damage import disk_of

SENTENCE = "The quick brown fox jumps over the lazy dog."
MODEL = ("-m", "demo-encoder")
EXPORTS = {
    "picture.png": ("figure", SENTENCE, *MODEL, "--layer", 0, "--head", 0),
    "picture.svg": ("figure", SENTENCE, *MODEL, "--layer", 0, "--head", 0),
    "picture.pdf": ("figure", SENTENCE, *MODEL, "--layer", 0, "--head", 0),
    "table.csv": ("scan", SENTENCE, *MODEL),
    "table.json": ("scan", SENTENCE, *MODEL),
    "table.parquet": ("scan", SENTENCE, *MODEL),
    "page.html": ("show", SENTENCE, *MODEL),
}


@pytest.mark.parametrize("there", [True, False], ids=["over a file", "a new file"])
@pytest.mark.parametrize("name", EXPORTS)
def test_a_full_disk(attn, tmp_path: Path, name: str, there: bool) -> None:
    path = tmp_path / name
    if there:
        path.write_text("old")
    with disk_of(500):
        code, _, errors = attn(*EXPORTS[name], "-o", path)
    assert code == 2
    assert f"attn: {path} could not be written: " in errors
    assert errors.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ([name] if there else [])
    assert not there or path.read_text() == "old"


def test_a_link_to_a_device(attn, tmp_path: Path) -> None:
    (tmp_path / "table.csv").symlink_to("/dev/full")
    code, _, errors = attn(*EXPORTS["table.csv"], "-o", tmp_path / "table.csv")
    assert code == 2
    assert "it is no regular file" in errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(attn, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, errors = attn(*EXPORTS["table.csv"], "-o", tmp_path / "table.csv")
    assert code == 2
    assert "could not be written" in errors
