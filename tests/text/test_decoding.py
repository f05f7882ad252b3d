"""Texts as spreadsheets and Windows write them: read whole, or refused with the line and what to do."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.errors import InputError
from attention_analyzer.text.decoding import decode, encoding_of
from attention_analyzer.text.readers import READERS, BadRow, ReadOptions, Row, read_source, sources

TEXT = "Café, naïve “quotes” – and 5 €.\nSecond line\n"
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
ROWS = [["1", 'He said "no", then left'], ["2", "two\nlines"], ["3", "café au lait"], ["4", "plain; no, really"]]


def told(path: Path, **options) -> list[str]:
    """Texts as they are, bad rows as "! line: reason"."""
    (source,) = sources([path], READERS)
    found = []
    for row in read_source(source, ReadOptions(**options)):
        place = row.place.removeprefix(f"{path}, ")
        found.append(row.text if isinstance(row, Row) else f"! {place}: {row.reason}")
    return found


def table(
    path: Path, *, encoding: str = "utf-8", delimiter: str = ",", end: str = "\r\n", head: list[str] | None = None
) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        # Python's writer leaves a newline unquoted where rows end otherwise.
        quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerows([head or ["id", "text"], *ROWS])
    return path


@pytest.mark.parametrize("encoding", UNICODE)
def test_unicode_in_every_form_is_told_from_its_bytes(encoding: str) -> None:
    assert decode(TEXT.encode(encoding), "here") == TEXT
    if encoding.endswith(("-le", "-be")):
        assert decode(("\ufeff" + TEXT).encode(encoding), "here") == TEXT


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_become_newlines(end: str) -> None:
    assert decode(f"one{end}two{end}".encode(), "here") == "one\ntwo\n"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff\0"), min_size=1))
def test_any_text_in_utf8_is_itself(text: str) -> None:
    assert decode(text.encode(), "here") == text
    assert decode(text.encode("utf-16"), "here") == text


# Unicode keeps U+FFFE free of characters: in little-endian order its bytes are the big-endian mark.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff\ufffe\0"), min_size=1))
def test_utf16_without_a_mark_is_never_taken_for_another_text(text: str) -> None:
    """It is read as what it is, or as UTF-8 where its bytes happen to be that, never as the other byte order."""
    if encoding_of(text.encode("utf-16-le")) != "utf-8":
        assert decode(text.encode("utf-16-le"), "here") == text


def test_what_was_asked_for_is_believed_unless_the_file_says_otherwise() -> None:
    assert decode("naïve €".encode("cp1252"), "here", "cp1252") == "naïve €"
    assert decode("привет".encode("cp1251"), "here", "windows-1251") == "привет"
    assert decode("日本".encode("shift_jis"), "here", "shift_jis") == "日本"
    assert decode("naïve".encode("utf-8-sig"), "here", "cp1252") == "naïve"


@pytest.mark.parametrize("name", ["utf-9", "hex", "", "rot13", 8, "a\0b"])
def test_names_that_are_no_encodings(name) -> None:
    with pytest.raises(InputError, match=r"no text encoding .*common ones are"):
        decode(b"abc", "here", name)
    with pytest.raises(InputError, match="no text encoding"):
        ReadOptions(encoding=name)


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (
            "one\nun café noir\n".encode("latin-1"),
            None,
            r"here, line 2: .*if it should read 'un café noir', set .*cp1252",
        ),
        ("“Ja”, sagte er.".encode("cp1252"), None, "line 1: .*should read '“Ja”, sagte er.', set"),
        ("привет".encode("cp1251"), None, "line 1: .*set the encoding of the file"),
        # How it would read shows that it is another one.
        ("Łódź i Gdańsk".encode("cp1250"), None, "line 1: .*should read '£ódŸ i Gdañsk', set"),
        ("日本語".encode("shift_jis"), None, "line 1: .*such as cp1251, gb18030 or shift_jis"),
        (b"\x00\x01\x89PNG", None, "line 1: .*set the encoding of the file"),
        (b"one\ntwo\n\x81", "shift_jis", "here, line 3: the line is not shift_jis text"),
        ("one\ntwo".encode("utf-16") + b"\0", None, "here, line 2: the line is not utf-16-le text"),
    ],
)
def test_other_encodings_are_refused_with_the_line(data: bytes, encoding: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode(data, "here", encoding)


# Tables


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_tables_in_unicode(tmp_path: Path, encoding: str, end: str, packed: bool) -> None:
    path = table(tmp_path / "a.csv", encoding=encoding, end=end)
    if packed:
        whole, path = path.read_bytes(), tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress(whole))
    assert told(path) == [text for _, text in ROWS]


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_delimiters_are_asked_for(tmp_path: Path, delimiter: str, name: str) -> None:
    path = table(tmp_path / "a.csv", delimiter=delimiter)
    with pytest.raises(InputError, match=f"a.csv seems to be separated by {name}, not by commas; set the delimiter: "):
        told(path)
    assert told(path, delimiter=delimiter) == [text for _, text in ROWS]


def test_a_delimiter_that_hides_the_wanted_column_is_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", delimiter=";", head=["price, euro", "text"])
    with pytest.raises(InputError, match="separated by semicolons"):
        told(path)
    with pytest.raises(InputError, match="separated by semicolons"):
        told(path, column="text")


def test_signs_of_other_delimiters_inside_names_do_not_matter(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", head=["id; number", "text"])
    assert len(told(path)) == len(ROWS)
    alone = tmp_path / "b.csv"
    alone.write_text("text; all\none; two\n")
    assert told(alone, delimiter=",") == ["one; two"]


def test_the_line_in_which_spreadsheets_name_the_delimiter(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", delimiter=";")
    path.write_bytes(b"sep=;\r\n" + path.read_bytes())
    assert told(path) == [text for _, text in ROWS]
    (source,) = sources([path], READERS)
    assert next(read_source(source, ReadOptions())).place == f"{path}, line 3"


@pytest.mark.parametrize("delimiter", ["", ";;", "\n", '"', "\0"])
def test_what_is_no_delimiter(delimiter: str) -> None:
    with pytest.raises(InputError, match="must be one character"):
        ReadOptions(delimiter=delimiter)


def test_tables_without_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('good,"It is\ngood."\nbad,It is bad.\nodd\n')
    assert told(path, header=False, column="2") == [
        "It is\ngood.",
        "It is bad.",
        "! line 4: 2 columns were expected, 1 were met",
    ]
    (source,) = sources([path], READERS)
    places = [row.place for row in read_source(source, ReadOptions(header=False, column="2"))]
    assert places == [f"{path}, line {line}" for line in (1, 3, 4)]
    with pytest.raises(InputError, match="hold the text, '1', '2'; choose"):
        told(path, header=False)
    with pytest.raises(InputError, match=r"'good', 'It is\\ngood.' .turn the header off"):
        told(path)


def test_a_first_text_is_not_taken_for_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("This film is great!\nI slept.\n")
    with pytest.raises(InputError, match=r"should name its column, but is 'This film is great!'.*header=False"):
        told(path)
    assert told(path, header=False) == ["This film is great!", "I slept."]
    path.write_text("review\nI slept.\n")
    assert told(path) == ["I slept."]


def test_other_encodings_cost_their_rows_or_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", encoding="cp1252")
    assert told(path) == [
        ROWS[0][1],
        ROWS[1][1],
        ("! line 5: the line is not UTF-8 text; if it should read '3,café au lait', set the encoding cp1252"),
        ROWS[3][1],
    ]
    assert told(path, encoding="latin-1") == [text for _, text in ROWS]
    named = table(tmp_path / "b.csv", encoding="cp1252", head=["größe", "text"])
    with pytest.raises(InputError, match=r"first line of .* not UTF-8 .*'größe,text'.*cp1252"):
        told(named)
    assert told(named, encoding="cp1252") == [text for _, text in ROWS]


def test_a_field_that_never_ends_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,fine\n2,"not closed\n3,lost\n')
    assert told(path) == ["fine", "! line 3 to the end: a quoted field is never closed"]


def test_bad_characters_of_utf16_cost_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\nt".encode("utf-16") + b"\x00\xd8" + "wo\nthree\n".encode("utf-16-le"))
    (source,) = sources([path], READERS)
    rows = list(read_source(source, ReadOptions()))
    assert [isinstance(row, BadRow) for row in rows] == [False, True, False]
    assert rows[1].place == f"{path}, line 2"
    assert told(path)[1].startswith("! line 2: the line is not utf-16-le text")


def test_json_lines_and_treebanks_of_windows(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_bytes('{"text": "naïve"}\r\n{"text": "two"}\r\n'.encode("utf-16"))
    assert told(lines) == ["naïve", "two"]
    bank = tmp_path / "a.conllu"
    rows = "1\tNaïve\t_\tADJ\t_\t_\t2\tamod\t_\t_\r\n2\tpeople\t_\tNOUN\t_\t_\t0\troot\t_\t_\r\n\r\n"
    bank.write_bytes(rows.encode("utf-8-sig"))
    assert told(bank) == ["Naïve people"]
    bank.write_bytes(rows.encode("cp1252"))
    assert told(bank, encoding="cp1252") == ["Naïve people"]
