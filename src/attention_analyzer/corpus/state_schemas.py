"""What the state tables of a store look like, and how one is read: nothing is unpacked before its size is known."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.readers.bounds import FREE_BYTES, MAX_RATIO
from attention_analyzer.text.readers.parquet_pages import page_sizes

_HEAD = [("stack", pa.string()), ("kind", pa.string()), ("layer", pa.int64()), ("head", pa.int64())]
SCHEMAS = {
    "heads": pa.schema(
        [
            *_HEAD,
            ("measure", pa.string()),
            ("texts", pa.int64()),
            *((name, pa.float64()) for name in ("total", "squares", "smallest", "largest")),
        ]
    ),
    "examples": pa.schema(
        [
            ("number", pa.int32()),
            *_HEAD,
            ("measure", pa.string()),
            ("rank", pa.int32()),
            ("value", pa.float32()),
            ("text", pa.int64()),
            ("query", pa.int32()),
            ("key", pa.int32()),
        ]
    ),
    "kept": pa.schema(
        [
            ("text", pa.int64()),
            ("content", pa.string()),
            ("place", pa.string()),
            ("pieces", pa.list_(pa.string())),
            ("others", pa.list_(pa.string())),
        ]
    ),
    "problems": pa.schema(
        [("row", pa.int64()), ("place", pa.string()), ("reason", pa.string()), ("start", pa.string())]
    ),
}
#: Columns that say nothing in some rows.
_OPTIONAL = ("query", "key")
#: What values that are stored once may become when every row that names them gets its own.
_MOST_REPEATED = 1 << 33


def state_table(name: str, content: bytes, most_rows: int) -> pa.Table:
    """A state table from the bytes of its Parquet file.

    Args:
        most_rows: how many rows it can have at most.

    Raises:
        FileFormatError: the file is damaged, or not such a table.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            _check_size(file.metadata, content, most_rows)
            if file.metadata.num_rows and not _is_alike(file.schema_arrow, SCHEMAS[name]):
                raise FileFormatError("its columns are others")
            table = file.read()
        table.validate(full=True)
    except (OSError, MemoryError, UnicodeDecodeError, pa.ArrowException) as error:
        raise FileFormatError(str(error) or type(error).__name__) from None
    for column in table.column_names:
        values = table[column]
        nested = pc.list_flatten(values) if pa.types.is_list(values.type) else values
        if column not in _OPTIONAL and (values.null_count or nested.null_count):
            raise FileFormatError(f"its column {column!r} has gaps")
    return table


def _check_size(about: pq.FileMetaData, content: bytes, most_rows: int) -> None:
    if about.num_rows > most_rows:
        raise FileFormatError(f"it has {about.num_rows:,} rows, and {most_rows:,} at most are possible")
    unpacked, raw = 0, BytesIO(content)
    for group in range(about.num_row_groups):
        for number in range(about.num_columns):
            chunk = about.row_group(group).column(number)
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
            start = min(first, chunk.data_page_offset) if first else chunk.data_page_offset
            if start < 0:
                raise FileFormatError("a column has no place")
            sizes = list(page_sizes(raw, start, chunk.total_compressed_size))
            unpacked += sum(sizes)
            if first and sizes and chunk.num_values * sizes[0] > _MOST_REPEATED:
                raise FileFormatError("it repeats long values too often")
    if unpacked > max(FREE_BYTES, MAX_RATIO * len(content)):
        raise FileFormatError(f"it unpacks to more than {MAX_RATIO} times its size")


def _is_alike(found: pa.Schema, wanted: pa.Schema) -> bool:
    """Names and types are the same; what Parquet notes besides does not matter."""
    return found.names == wanted.names and all(
        here.type == there.type
        or (pa.types.is_list(here.type) and pa.types.is_list(there.type) and here.type.value_type == pa.string())
        for here, there in zip(found, wanted, strict=True)
    )
