"""The files of a history: a description and Parquet tables, each replaced as a whole and with a checksum.

Format 2; in format 1 there were no checksums.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.fields import Fields
from attention_analyzer.files import draft_checksum, exported, has_checksum, read_json, seal, warn_of_old, write_json

FORMAT = 2
_DESCRIPTION = "history.json"
_WHOLE_NUMBERS = ("step", "layer", "head")
_NAMES = ("stack", "kind")


def read_info(folder: Path) -> dict[str, Any]:
    """What ``history.json`` says: ``format``, ``model``, and the tokens ``source`` and ``target``.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is corrupt or from a newer version.
    """
    path = folder / _DESCRIPTION
    if not path.exists():
        raise InputError(f"There is no history at {folder}: it has no {_DESCRIPTION}.")
    content, is_sealed = read_json(path)
    fields = Fields(content, str(path))
    version = fields.whole("format", 1)
    if version > FORMAT:
        raise FileFormatError(f"{path} has format {version}; this version reads up to {FORMAT}, install a newer one.")
    if version > 1 and not is_sealed:
        raise FileFormatError(f"{path} has lost its checksum: it was cut or altered.")
    pieces = {side: fields.items(side) if fields.has(side) else [] for side in ("source", "target")}
    if not all(isinstance(piece, str) for side in pieces.values() for piece in side):
        raise FileFormatError(f"{path} describes tokens that are no texts.")
    return {"format": version, "model": fields.text("model") if fields.has("model") else "", **pieces}


def write_info(folder: Path, model: str, source: Sequence[str], target: Sequence[str]) -> None:
    """Write ``history.json``.

    Raises:
        OSError: it cannot be written.
    """
    content = {"format": FORMAT, "model": model, "source": list(source), "target": list(target)}
    write_json(folder / _DESCRIPTION, content)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Replace a Parquet file.

    Raises:
        InputError: it cannot be written; the file that was there is unchanged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    draft = draft_checksum()
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), "checksum": draft})
    with exported(path) as beside:
        pq.write_table(content, beside)
        seal(beside, draft)


def read_tables(folder: Path, files: Sequence[Path], version: int) -> pd.DataFrame:
    """All rows of some Parquet files of a history, whose checksums are verified.

    Args:
        version: the history's format.

    Raises:
        FileFormatError: a file is corrupt or foreign.
    """
    sealed = {file: _is_sealed(file) for file in files}
    without = [file for file, is_sealed in sealed.items() if not is_sealed]
    if without and version > 1:
        raise FileFormatError(f"{without[0]} has lost its checksum: it was cut, altered or exchanged.")
    table = pd.concat([_read(file) for file in files], ignore_index=True)
    for names, fits in ((_WHOLE_NUMBERS, pd.api.types.is_integer_dtype), (_NAMES, _holds_texts)):
        for name in names:
            if name not in table.columns or not fits(table[name]):
                raise FileFormatError(f"The history in {folder} has no column {name!r} of the kind that is needed.")
    if without:
        warn_of_old(f"The history {folder}")
    return table


def _is_sealed(file: Path) -> bool:
    try:
        return has_checksum(file)
    except OSError as error:
        raise FileFormatError(f"{file} cannot be read: {error.strerror or error}.") from None


def _read(file: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return pd.read_parquet(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise FileFormatError(f"{file} is no readable Parquet file: {error}.") from None


def _holds_texts(column: pd.Series) -> bool:
    return all(isinstance(value, str) for value in column.unique())
