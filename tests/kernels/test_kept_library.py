"""The library that is kept between processes: only the user's own and only whole; else plain PyTorch is used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from safetensors import _safetensors_rust

from attention_analyzer.weights.cpu.compiled import RowPass, row_pass

needs_compiler = pytest.mark.skipif(row_pass().library is None, reason=f"no compiled pass: {row_pass().reason}")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that works, built once."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTENTION_ANALYZER_KERNEL", str(folder))
        assert row_pass.__wrapped__().library is not None
    return next(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the library is kept, with a compiler that says when it is called and is done at once."""
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text(
        f"#!{shutil.which('sh')}\n"
        'case "$1" in --version) echo 1; exit;; esac\n'
        f"echo built >> {tmp_path}/log\n"
        f'while [ "$1" != -o ]; do shift; done\n'
        f'{shutil.which("cp")} {library} "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent))
    monkeypatch.setenv("ATTENTION_ANALYZER_KERNEL", str(tmp_path / "kept"))
    return tmp_path / "kept"


def load(folder: Path) -> tuple[RowPass, int]:
    """The pass as a new process loads it, and how often the compiler has run."""
    found = row_pass.__wrapped__()
    log = folder.parent / "log"
    return found, len(log.read_text().splitlines()) if log.exists() else 0


@needs_compiler
def test_it_is_built_once(folder: Path) -> None:
    assert load(folder)[1] == 1
    found, built = load(folder)
    assert found.library is not None
    assert built == 1


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "empty", "altered", "foreign"])
def test_a_library_that_is_not_as_it_was_built_is_built_again(folder: Path, damage: str) -> None:
    load(folder)
    (kept,) = folder.iterdir()
    content = kept.read_bytes()
    kept.unlink()  # the loader may still have it open
    kept.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "altered": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
            "foreign": Path(_safetensors_rust.__file__).read_bytes(),
        }[damage]
    )
    kept.chmod(0o700)
    found, built = load(folder)
    assert found.library is not None
    assert built == 2


@needs_compiler
def test_a_library_that_others_may_write_is_built_again(folder: Path) -> None:
    load(folder)
    next(folder.iterdir()).chmod(0o777)
    assert load(folder)[1] == 2
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o700


@needs_compiler
def test_a_folder_that_others_may_write_is_not_used(folder: Path) -> None:
    load(folder)
    folder.chmod(0o777)
    found, _ = load(folder)
    assert found.library is None
    assert "Other users may write to" in found.reason
    assert "plain PyTorch is used" in found.reason


@needs_compiler
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_not_used(folder: Path) -> None:
    load(folder)
    os.chown(folder, 65534, 65534)
    found, _ = load(folder)
    assert found.library is None
    assert "belongs to another user" in found.reason


@needs_compiler
def test_the_folder_is_private_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        load(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o700
