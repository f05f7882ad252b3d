from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.readers import bounds
from attention_analyzer.text.readers.parquet_pages import page_sizes
from attention_analyzer.text.readers.row import MOST_COLUMNS, BadRow, Reader, ReadOptions, Row, usual_column

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 1024
#: Largest page that is unpacked, and how much a run of rows may hold. No value is longer than its page; writers make
#: pages of about a megabyte.
_LARGEST_PAGE = 1 << 26
_BYTES_AT_ONCE = 1 << 28


class ParquetRows(Reader):
    """A Parquet file, read in runs of rows and only the column with the text."""

    name = "Parquet"
    suffixes = (".parquet",)

    def columns(self, path: Path, options: ReadOptions) -> list[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)[:MOST_COLUMNS]
        except pa.ArrowException as error:
            raise FileFormatError(f"{path} is damaged ({error}).") from None

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            yield BadRow(f"{path}", f"the file is damaged ({error})", 1.0)
            return
        with file:
            schema, total = file.schema_arrow, max(file.metadata.num_rows, 1)
            strings = [field.name for field in schema if pa.types.is_string(field.type) or _is_large(field.type)]
            column = usual_column(schema.names, strings, options.column, path)
            before = 0
            for group in range(file.num_row_groups):
                done, stop = before, before + file.metadata.row_group(group).num_rows
                try:
                    many = _rows_at_once(file, path, group, column)
                    for batch in file.iter_batches(many, row_groups=[group], columns=[column]):
                        for value in batch.column(0):
                            done += 1
                            yield _row(value, f"{path}, row {done}", done / total)
                except FileFormatError as error:
                    yield BadRow(f"{path}, rows {done + 1} to {stop}", str(error), stop / total)
                except (pa.ArrowException, OSError) as error:
                    # What a damaged group holds cannot be known; the others can.
                    place = f"{path}, rows {done + 1} to {stop}"
                    yield BadRow(place, f"the file is damaged there ({error})", stop / total)
                before = stop


def _rows_at_once(file: pq.ParquetFile, path: Path, group: int, column: str) -> int:
    """So many rows that no run of them holds more than it may, whatever the file says of itself.

    Raises:
        FileFormatError: a page is too large, or damaged.
    """
    about = file.metadata.row_group(group)
    largest = 1
    with path.open("rb") as raw:
        for number in range(about.num_columns):
            chunk = about.column(number)
            if chunk.path_in_schema.partition(".")[0] != column:
                continue
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
            start = min(first, chunk.data_page_offset) if first else chunk.data_page_offset
            for size in page_sizes(raw, start, chunk.total_compressed_size):
                largest = max(largest, size)
                if largest > _LARGEST_PAGE:
                    raise FileFormatError(
                        f"a page unpacks to {largest:,} bytes, more than the {_LARGEST_PAGE:,} that are read"
                    )
    return min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE // largest))


def _row(value: Any, place: str, share: float) -> Row | BadRow:
    """Of an Arrow value, which becomes Python's own only if it is not too long."""
    import pyarrow as pa

    if not value.is_valid:
        return BadRow(place, "the text is missing, not a string", share)
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    if not (pa.types.is_string(value.type) or _is_large(value.type)):
        return BadRow(place, f"the text is a {value.type}, not a string", share)
    if value.as_buffer().size > bounds.MAX_TEXT:
        return BadRow(place, bounds.too_long("text"), share)
    try:
        return Row(value.as_py(), place, share=share)
    except UnicodeDecodeError:
        return BadRow(place, "the text is not UTF-8", share)


def _is_large(kind: object) -> bool:
    return str(kind) in ("large_string", "string_view")
