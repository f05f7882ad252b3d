from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.errors import MissingDependencyError
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row, usual_column


class Dataset(Reader):
    """A Hugging Face dataset in a folder (``save_to_disk``), all its splits; mapped into memory, not read into it."""

    name = "Hugging Face dataset"
    suffixes = ()

    def reads(self, path: Path) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        try:
            from datasets import Value, load_from_disk
        except ImportError:
            raise MissingDependencyError("datasets", "corpus", "Reading a Hugging Face dataset") from None

        loaded = load_from_disk(str(path))
        splits = loaded if isinstance(loaded, dict) else {"": loaded}
        total = max(sum(len(split) for split in splits.values()), 1)
        done = 0
        for name, split in splits.items():
            strings = [
                column
                for column, kind in split.features.items()
                if isinstance(kind, Value) and kind.dtype in ("string", "large_string")
            ]
            column = usual_column(list(split.features), strings, options.column, path)
            for number, row in enumerate(split.select_columns([column]), start=1):
                done += 1
                place = f"{path}{f', {name}' if name else ''}, row {number}"
                if isinstance(row[column], str):
                    yield Row(row[column], place, share=done / total)
                else:
                    yield BadRow(place, f"the text is a {type(row[column]).__name__}, not a string", done / total)
