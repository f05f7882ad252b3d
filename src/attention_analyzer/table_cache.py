"""Head tables kept on disk, so that a table that was made before is there without loading torch or the model.

The key holds what the table depends on and can be known without the model: the model folder's files by their names,
sizes and times of change, the texts, the settings, the machine, and the versions of this package, torch and
transformers. A model that was only given by a hub id, which the hub may change, has no key.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.cache_folder import TABLE, CacheFolder, key_of
from attention_analyzer.errors import FileFormatError
from attention_analyzer.files import replaced

if TYPE_CHECKING:
    import pandas as pd

#: Of the file's layout.
_VERSION = 1
#: What the numbers depend on beside the model and the texts.
_PACKAGES = ("attention-analyzer", "torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class TableCache(CacheFolder):
    """A bounded folder of head tables; see :class:`.CacheFolder`."""

    @staticmethod
    def key(model: Path, texts: Sequence[str], settings: dict[str, Any]) -> str:
        """The name of the table of a model folder and texts.

        Raises:
            OSError: the folder cannot be read.
        """
        machine = [platform.node(), platform.machine(), os.environ.get("CUDA_VISIBLE_DEVICES")]
        return key_of(_VERSION, _stamps(model), list(texts), settings, machine, _versions())

    def get(self, key: str) -> pd.DataFrame | None:
        """The table of that key, or None. A file that cannot be read is removed: it can be made again."""
        return self.read(f"{key}{TABLE}", _load)

    def put(self, key: str, table: pd.DataFrame) -> None:
        """Keep a table, with the types of its columns and every digit."""
        columns = {str(name): [str(table[name].dtype), table[name].tolist()] for name in table.columns}
        content = json.dumps(columns)
        self.write(f"{key}{TABLE}", len(content), lambda path: _save(content, path))


def _stamps(folder: Path) -> list[list[Any]]:
    """Name, size and time of change of every file of a model's folder; links are followed."""
    stamps: list[list[Any]] = [[str(folder.resolve())]]
    for path in sorted(folder.iterdir()):
        status = path.stat()
        stamps.append([path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return stamps


def _versions() -> list[str]:
    """Versions of the packages, and when the code of this one was changed last."""
    own = Path(__file__).parent
    changed = max((path.stat().st_mtime_ns for path in own.rglob("*.py")), default=0)
    found = [str(changed)]
    for name in _PACKAGES:
        try:
            found.append(version(name))
        except PackageNotFoundError:  # not installed, but on the path
            found.append("")
    return found


def _save(content: str, path: Path) -> None:
    with replaced(path, durable=False) as beside:
        beside.write_text(content, encoding="utf-8")


def _load(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
        return pd.DataFrame({name: pd.Series(values, dtype=kind) for name, (kind, values) in columns.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} is no head table: {error}") from error
