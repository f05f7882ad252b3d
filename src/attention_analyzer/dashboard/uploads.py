"""Files that a visitor brings: bounded, kept in a folder of their own while they are needed, known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.dashboard.temp_dirs import Folder
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.text.readers import READERS, ReadOptions


@dataclass(frozen=True)
class Upload:
    """Some files.

    Attributes:
        paths: where they lie, in the order they were chosen.
        names: what the visitor called them.
        digest: a hash of names and contents.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    digest: str
    folder: Folder = field(repr=False, compare=False)


def upload_box(label: str, kinds: Sequence[str], *, several: bool, key: str, help_text: str) -> Upload | None:
    """The box that takes files; None while there are none.

    Raises:
        InputError: more files than the operator allows.
    """
    settings = Settings.here()
    given = st.file_uploader(
        label,
        list(kinds),
        accept_multiple_files=several,
        key=key,
        max_upload_size=settings.largest_upload,
        help=help_text,
    )
    files = given if isinstance(given, list) else [given] if given else []
    if not files:
        return None
    if len(files) > settings.most_files:
        raise InputError(f"{len(files)} files were chosen; the maximum is {settings.most_files}.")
    known = st.session_state.get(f"upload-{key}")
    identity = tuple(file.file_id for file in files)
    if known is None or known[0] != identity:
        known = (identity, _stored(files))
        st.session_state[f"upload-{key}"] = known
    upload: Upload = known[1]
    return upload


def columns_of(path: Path, options: ReadOptions) -> list[str]:
    """The columns or keys of a table's rows; empty for what has none, or where the file is damaged.

    Raises:
        InputError: it is not as the options say.
    """
    reader = next((reader for reader in READERS if reader.reads(path)), None)
    try:
        return [] if reader is None else reader.columns(path, options)
    except (OSError, FileFormatError):
        return []


def _stored(files: Sequence[Any]) -> Upload:
    folder = Folder("upload")
    digest = hashlib.blake2b(digest_size=16)
    paths: list[Path] = []
    for number, file in enumerate(files):
        # The name is the visitor's: only its last part counts, and a folder of its own keeps equal names apart.
        name = Path(file.name.replace("\\", "/")).name or "file"
        path = folder.path / str(number) / name
        path.parent.mkdir()
        content = file.getbuffer()
        path.write_bytes(content)
        digest.update(name.encode("utf-8", "replace") + len(content).to_bytes(8, "big"))
        digest.update(content)
        paths.append(path)
    return Upload(tuple(paths), tuple(path.name for path in paths), digest.hexdigest(), folder)
