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

        number = 0
        try:
            with pq.ParquetFile(path) as file:
                schema, total = file.schema_arrow, max(file.metadata.num_rows, 1)
                strings = [field.name for field in schema if pa.types.is_string(field.type) or _is_large(field.type)]
                column = usual_column(schema.names, strings, options.column, path)
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[column]):
                    for value in batch.column(0).to_pylist():
                        number += 1
                        place = f"{path}, row {number}"
                        if isinstance(value, str):
                            yield Row(value, place, share=number / total)
                        else:
                            yield BadRow(place, f"the text is {_kind(value)}, not a string", number / total)
        except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
            # What a page of a Parquet file holds cannot be known once it is damaged.
            yield BadRow(f"{path}, after row {number}", f"the file is damaged and is read no further ({error})", 1.0)


def _is_large(kind: object) -> bool:
    return str(kind) in ("large_string", "string_view")


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
