from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row, usual_column

_ROWS_AT_ONCE = 1024


class ParquetRows(Reader):
    """A Parquet file, read in runs of rows and only the column with the text."""

    name = "Parquet"
    suffixes = (".parquet",)

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
                    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
                        for value in batch.column(0).to_pylist():
                            done += 1
                            yield _row(value, f"{path}, row {done}", done / total)
                except (pa.ArrowException, OSError) as error:
                    # What a damaged group holds cannot be known; the others can.
                    place = f"{path}, rows {done + 1} to {stop}"
                    yield BadRow(place, f"the file is damaged there ({error})", stop / total)
                before = stop


def _row(value: object, place: str, share: float) -> Row | BadRow:
    if isinstance(value, str):
        return Row(value, place, share=share)
    return BadRow(place, f"the text is {_kind(value)}, not a string", share)


def _is_large(kind: object) -> bool:
    return str(kind) in ("large_string", "string_view")


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
