"""What a reader builds is bounded before it is built; what is too large is left out with its place and the reason."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.text.readers import READERS, BadRow, ReadOptions, Row, bounds, read_source, sources
from attention_analyzer.text.readers.parquet_pages import page_sizes
from tests.linguistics.treebank import ROWS, treebank

ROOT = Path(__file__).resolve().parent.parent.parent


def read(path: Path, **options) -> Iterator[Row | BadRow]:
    for source in sources([path], READERS):
        yield from read_source(source, ReadOptions(**options))


def told(path: Path, **options) -> list[str]:
    """Texts as they are, bad rows as "place: reason", without the folder."""
    return [
        row.text if isinstance(row, Row) else f"! {row.place}: {row.reason}".replace(f"{path.parent}/", "")
        for row in read(path, **options)
    ]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """Texts of 100 characters at most, so that the tests stay small."""
    monkeypatch.setattr(bounds, "MAX_TEXT", 100)
    return 100


@pytest.mark.parametrize("size", [98, 99, 100, 101, 102, 500])
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_is_read_up_to_the_longest_and_skipped_beyond(short, size: int, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    content = b"first\n" + b"x" * size + b"\nlast"
    path.write_bytes(gzip.compress(content) if packed else content)
    middle = (
        "x" * size if size < short else f"! {path.name}, line 2: the line is longer than 100 characters; split it first"
    )
    assert told(path) == ["first", middle, "last"]


def test_texts_of_several_lines_are_bounded_too(short, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\n" + "word word word\n" * 9 + "\ntwo\n")
    long = "! a.txt, line 3: the text is longer than 100 characters; split it first"
    assert told(path, unit="paragraph") == ["one", long, "two"]
    assert told(path, unit="file") == [long.replace("line 3", "line 1")]
    table = tmp_path / "a.csv"
    table.write_text('id,text\n1,one\n2,"' + "word word word\n" * 9 + '"\n3,three\n')
    found = told(table)
    assert found[0] == "one"
    assert "the row cannot be read (the row is longer than 100 characters; split it first)" in found[1]
    assert found[-1] == "three"


def test_a_sentence_that_never_ends_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sentence = ROWS.strip()
    monkeypatch.setattr(bounds, "MAX_TEXT", 2 * len(sentence))
    path = tmp_path / "a.conllu"
    blocks = treebank(2).strip().split("\n\n")
    path.write_text("\n\n".join([blocks[0], "\n".join([sentence] * 3), blocks[1]]) + "\n")
    found = list(read(path))
    assert [isinstance(row, Row) for row in found] == [True, False, True]
    assert found[1].reason.startswith("the sentence is longer than")


@pytest.mark.parametrize("label", ["9" * 5000, f"1-{'9' * 5000}", "1-999999999"])
def test_numbers_of_words_are_no_longer_than_they_can_be(label: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(ROWS.replace("1\t", f"{label}\t", 1))
    (bad,) = read(path)
    assert isinstance(bad, BadRow)


def test_a_long_chain_of_words_is_checked_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    count = 20_000
    path.write_text(
        "".join(f"{n}\tw\tw\tX\t_\t_\t{n + 1 if n < count else 0}\tdep\t_\t_\n" for n in range(1, count + 1)) + "\n"
    )
    (row,) = read(path)
    assert row.annotation.governors[-1] is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[" * 100_000, "the line is no JSON (its brackets are nested too deeply)"),
        ('{"a":' * 100_000, "the line is no JSON (its brackets are nested too deeply)"),
        ("1" * 5_000, "the line is no JSON (Exceeds the limit"),
        (
            '{"x": 1' + "".join(f', "k{n}": 1' for n in range(1000)) + "}",
            "there is no key 'text'; the keys are 'x', 'k0'",
        ),
        ('{"' + "k" * 5000 + '": 1}', "there is no key 'text'; the keys are 'kkk"),
    ],
)
def test_hostile_json_costs_its_own_line(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'"first"\n{line}\n"last"\n')
    first, bad, last = told(path)
    assert (first, last) == ("first", "last")
    assert bad.startswith(f"! a.jsonl, line 2: {reason}")
    assert len(bad) < 300


def test_a_gzip_bomb_is_left_where_it_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bounds, "FREE_BYTES", 1 << 16)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"the same line\n" * 200_000))
    found = told(path)
    assert "it unpacks to more than 200 times its size" in found[-1]
    assert len(found) < 100_000
    honest = tmp_path / "b.txt.gz"
    lines = [f"line {number * 7919 % 100_003}" for number in range(20_000)]
    honest.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert told(honest) == lines


@pytest.mark.parametrize("cut", [-1, -40, 11, 200])
def test_a_gzipped_file_that_is_cut_off_is_told(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    lines = [f"line {number * 7919 % 100_003}" for number in range(2_000)]
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:cut])
    found = told(path)
    assert "! a.txt.gz: it cannot be read any further: the gzipped file is damaged" in found[-1]
    assert found[:-1] == lines[: len(found) - 1]


def test_a_small_parquet_file_with_a_huge_text_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    huge = pa.array(["x" * 120_000_000])
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for texts in (["first"], huge, ["last"]):
            writer.write_table(pa.table({"text": texts}))
    assert path.stat().st_size < 100_000
    # In a process that could not hold it.
    script = (
        "import resource, sys; from pathlib import Path\n"
        "import pyarrow.parquet\n"
        "from tests.text.test_reader_bounds import told\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)\n"
        "print(told(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    reason = "a page unpacks to 120,000,004 bytes, more than the 67,108,864 that are read"
    assert done.stdout.strip() == str(["first", f"! a.parquet, rows 2 to 2: {reason}", "last"])


def test_a_text_that_many_rows_share_is_not_held_many_times(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 1_000_000])
    # Without the schema of Arrow it is read as plain strings.
    pq.write_table(pa.table({"text": shared}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    rows = 0
    for row in read(path):
        assert len(row.text) == 1_000_000
        assert pa.total_allocated_bytes() - before < 600_000_000
        rows += 1
    assert rows == 1000


def test_long_texts_in_a_parquet_file_are_left_out_one_by_one(short, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = ["first", "x" * 100, "y" * 101, None, "last"]
    long = "! a.parquet, row 3: the text is longer than 100 characters; split it first"
    expected = ["first", "x" * 100, long, "! a.parquet, row 4: the text is missing, not a string", "last"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(texts, pa.string()).cast(kind)}), path)
        assert told(path) == expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"use_dictionary": False, "compression": "none"},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"write_page_checksum": True, "write_page_index": True},
    ],
)
def test_page_headers_add_up_to_what_the_file_says(options: dict, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {number}" * (number % 40) for number in range(3000)]
    pq.write_table(pa.table({"n": np.arange(3000), "text": texts}), path, data_page_size=4096, **options)
    about = pq.read_metadata(path).row_group(0).column(1)
    start = about.dictionary_page_offset if about.has_dictionary_page else about.data_page_offset
    with path.open("rb") as raw:
        sizes = list(page_sizes(raw, start, about.total_compressed_size))
        assert len(sizes) >= 2
        # The file's own sum has the headers too, some dozens of bytes each.
        assert 0 <= about.total_uncompressed_size - sum(sizes) < 200 * len(sizes)
        with pytest.raises(FileFormatError):
            list(page_sizes(raw, start + 3, about.total_compressed_size))
    assert told(path) == texts


def test_a_table_without_a_first_line_is_refused(short, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x" * 300 + ",text\n1,one\n")
    with pytest.raises(InputError, match=r"first line of .* has no names of columns .the line is longer"):
        told(path)
