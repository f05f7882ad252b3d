"""Files of ours: whole or not at all, every changed byte noticed, folders that nobody else can write."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.files import (
    draft_checksum,
    exported,
    has_checksum,
    not_only_mine,
    private_folder,
    read_json,
    replaced,
    require_checksum,
    seal,
    write_json,
)
from tests.damage import disk_of


def sealed_file(path: Path, text: str = "some text") -> Path:
    draft = draft_checksum()
    path.write_text(f"{text} {draft} {text}", encoding="utf-8")
    seal(path, draft)
    return path


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replaced(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_goes_wrong_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replaced(path) as beside:
            beside.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with disk_of(1000), pytest.raises(InputError, match=r"a\.txt could not be written: .*; the file that was there"):  # noqa: SIM117
        with exported(path) as beside:
            beside.write_bytes(b"x" * 5000)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with replaced(tmp_path / "link.txt") as beside:
        beside.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_device_is_no_file() -> None:
    with pytest.raises(InputError, match="no regular file"), exported("/dev/full") as beside:
        beside.write_text("x")
    assert not Path("/dev/full").is_file()


def test_every_bit_and_every_length_counts(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "a.bin", "unimportant words " * 20)
    good = path.read_bytes()
    assert has_checksum(path)
    chance = random.Random(0)
    for _ in range(300):
        altered = bytearray(good)
        altered[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(altered)
        with pytest.raises(FileFormatError, match="altered"):
            require_checksum(path, is_old=False, what="The file")
    for length in (*range(0, len(good), 7), len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(FileFormatError):
            require_checksum(path, is_old=False, what="The file")


def test_a_text_may_quote_a_checksum(tmp_path: Path) -> None:
    quoted = sealed_file(tmp_path / "a.txt").read_text()
    assert has_checksum(sealed_file(tmp_path / "b.txt", quoted))


def test_a_checksum_stands_in_the_header_of_tensors(tmp_path: Path) -> None:
    """What looks like one in the data is data."""
    quoted = sealed_file(tmp_path / "a.txt").read_bytes()
    draft = draft_checksum()
    header = b'{"__metadata__":{"checksum":"' + draft.encode() + b'"}}'
    path = tmp_path / "b.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + quoted * 20)
    seal(path, draft)
    assert has_checksum(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(FileFormatError, match="does not match"):
        has_checksum(path)


def test_an_old_file_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("no checksum")
    with pytest.warns(UserWarning, match="older version"):
        require_checksum(tmp_path / "old", is_old=True, what="The file old")


def test_descriptions_come_back_or_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"names": ["é", "\ud800"], "count": 12})
    assert read_json(path) == ({"names": ["é", "\ud800"], "count": 12}, True)
    path.write_text(
        path.read_text(encoding="utf-8", errors="surrogatepass").replace("12", "13"), errors="surrogatepass"
    )
    with pytest.raises(FileFormatError, match="checksum does not match"):
        read_json(path)
    path.write_text(json.dumps({"count": 1}))
    assert read_json(path) == ({"count": 1}, False)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 200_000, b"3"])
def test_what_is_no_description(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError):
        read_json(tmp_path / "a.json")


def test_an_own_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert private_folder(tmp_path / "one" / "two") is None
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("one", "one/two")] == [0o700, 0o700]


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "Other users may write" in str(private_folder(tmp_path / "open"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    assert "belongs to another user" in str(not_only_mine(tmp_path / "theirs"))
