"""Readers: what is read from each kind of file, and that a bad row is told with its place and does not end the rest."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attention_analyzer.errors import InputError
from attention_analyzer.text.readers import READERS, BadRow, ReadOptions, Row, read_source, sources
from tests.linguistics.treebank import ROWS, treebank

CP1252 = "the line is not UTF-8 text; if it should read '{}', set the encoding cp1252"


def read(path: Path | str, **options) -> Iterator[Row | BadRow]:
    for source in sources([path], READERS):
        yield from read_source(source, ReadOptions(**options))


def told(path: Path | str, **options) -> list[str]:
    """Texts as they are, bad rows as "place: reason", without the folder."""
    folder = f"{Path(path).parent}/"
    return [
        row.text if isinstance(row, Row) else f"! {row.place}: {row.reason}".replace(folder, "")
        for row in read(path, **options)
    ]


def test_plain_text_by_line_paragraph_and_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne.\r\n\nTwo,\nthree.\n".encode() + b"\xff\xfe bad\n\nFour\n")
    bad = (
        "! a.txt, line 5: the line is not UTF-8 text; set the encoding of the file, such as "
        "cp1251, gb18030 or shift_jis"
    )
    assert told(path) == ["One.", "Two,", "three.", bad, "Four"]
    assert told(path, unit="paragraph") == ["One.", bad, "Four"]
    assert told(path, unit="file") == [bad]
    places = [row.place for row in read(path)]
    assert places == [f"{path}, line {number}" for number in (1, 3, 4, 5, 7)]
    good = tmp_path / "b.txt"
    good.write_text("One.\n\nTwo,\nthree.\n")
    assert told(good, unit="paragraph") == ["One.", "Two, three."]
    assert told(good, unit="file") == ["One.\n\nTwo,\nthree."]


def test_csv_with_quoted_lines_and_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = b'id,review\n1,plain\n2,"two\nlines, and a comma"\n3\n4,caf\xe9\n5,"open"quote\n6,last\n'
    path.write_bytes(rows)
    assert told(path, column="review") == [
        "plain",
        "two\nlines, and a comma",
        "! a.csv, line 5: 2 columns were expected, 1 were met",
        f"! a.csv, line 6: {CP1252.format('4,café')}",
        "! a.csv, line 7: the row cannot be read (',' expected after '\"')",
        "last",
    ]
    assert [row.place for row in read(path, column="review")][1] == f"{path}, line 3"
    with pytest.raises(InputError, match=r"several columns that may hold the text, 'id', 'review'.*column=…"):
        told(path)
    with pytest.raises(InputError, match="no column 'text'; it has 'id', 'review'"):
        told(path, column="text")
    tabs = tmp_path / "a.tsv"
    tabs.write_text("text\tid\na, b\t1\n")
    assert told(tabs) == ["a, b"]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n"two"\n{"text": 3}\n{oops\n{"body": "four"}\nnull\n')
    found = told(path)
    assert found[:2] == ["one", "two"]
    assert found[2] == "! a.jsonl, line 4: the text is a int, not a string"
    assert found[3].startswith("! a.jsonl, line 5: the line is no JSON (")
    assert found[4] == "! a.jsonl, line 6: there is no key 'text'; the keys are 'body'"
    assert found[5] == "! a.jsonl, line 7: the text is a NoneType, not a string"
    assert "four" in told(path, column="body")
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert told(packed)[:2] == ["one", "two"]


def test_parquet_in_runs_and_its_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {number}" for number in range(2500)]
    texts[7] = None
    pq.write_table(pa.table({"n": range(2500), "said": texts}), path, row_group_size=500)
    found = told(path)
    assert len(found) == 2500
    assert found[7] == "! a.parquet, row 8: the text is missing, not a string"
    assert found[2499] == "text 2499"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\x00" * 200
    path.write_bytes(content)
    found = told(path)
    assert found[0] == "text 0"
    (bad,) = (text for text in found if "damaged" in text)
    assert bad.startswith("! a.parquet, rows 1001 to 1500: the file is damaged there (")
    assert found[-1] == "text 2499"
    assert len(found) == 2001
    path.write_bytes(b"PAR1 is not enough")
    assert told(path)[0].startswith("! a.parquet: the file is damaged (")


def test_annotated_files_give_their_annotation_and_leave_out_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    blocks = treebank(3).split("\n\n")
    blocks.insert(1, ROWS.replace("2\tdog", "7\tdog").strip())
    path.write_text("\n\n".join(blocks))
    rows = list(read(path))
    assert [isinstance(row, Row) for row in rows] == [True, False, True, True]
    line = blocks[0].count("\n") + 3
    assert rows[1] == BadRow(f"{path}, line {line + 3}", "word 2 was expected, but the number is 7", rows[1].share)
    assert rows[2].annotation.relations[:3] == ("det", "amod", "nsubj")
    assert rows[2].place == f"{path}, line {line + ROWS.strip().count(chr(10)) + 3}"
    coreference = tmp_path / "a.conll"
    coreference.write_text("#begin document (d)\nd 0 0 Anna NNP (1)\n\nd 0 0 She PRP 1)|\n")
    (bad,) = read(coreference)
    assert (bad.place, bad.reason) == (
        f"{coreference}, line 4", "mention 1 is closed, but was not opened"
    )  # fmt: skip


def test_a_dataset_on_disk_with_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    small = datasets.Dataset.from_dict({"text": ["a", "b", None], "label": [1, 2, 3]})
    datasets.DatasetDict({"train": small, "test": small.select([1])}).save_to_disk(tmp_path / "two")
    small.save_to_disk(tmp_path / "one")
    missing = "row 3: the text is a NoneType, not a string"
    assert told(tmp_path / "one") == ["a", "b", f"! one, {missing}"]
    assert told(tmp_path / "two") == ["a", "b", f"! two, train, {missing}", "b"]


def test_folders_and_patterns_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/c.jsonl", "picture.png", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('"deep"' if "json" in name else name)
    assert told(tmp_path) == ["a.txt", "b.txt", "deep"]
    assert [row.text for row in read(f"{tmp_path}/*.txt")] == ["a.txt", "b.txt"]
    assert [row.text for row in read(f"{tmp_path}/**/*.jsonl")] == ["deep"]
    shares = [row.share for source in sources([tmp_path], READERS) for row in read_source(source, ReadOptions())]
    assert shares == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.txt", "no file, folder or dataset"), ("*.csv", "no file"), ("picture.png", "of no kind"), ("", "holds")],
)
def test_inputs_that_are_not_there_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        sources([tmp_path / name], READERS)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_every_reader_tells_an_unreadable_file(reader, tmp_path: Path) -> None:
    """One contract for all: what cannot be opened is one bad row, not an end of everything."""
    gone = tmp_path / f"gone{(reader.suffixes or ('',))[0]}"
    if not reader.suffixes:
        gone.mkdir()
        (gone / "state.json").write_text("{}")
    else:
        gone.write_text("x")
    (source,) = sources([gone], READERS)
    assert source.reader is reader
    if reader.suffixes:
        gone.unlink()
        (row,) = read_source(source, ReadOptions())
        assert isinstance(row, BadRow)
        assert "cannot be read any further" in row.reason or "damaged" in row.reason
