"""SQL over a store's tables, closed: it reads nothing else, writes nothing, and ends.

DuckDB runs in memory with external access off and its configuration locked, so that no function or statement of it
reaches a file, a folder, the network or an extension; only the store's own Parquet files are allowed, by name. Only
statements that read are run. A query has a limit of time and of memory, and Ctrl-C ends it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.errors import InputError, MissingDependencyError, Option

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

#: Characters of a query at most.
_LONGEST = 100_000
#: Vectors of 2,048 rows that are fetched at once.
_VECTORS = 64
#: How long a query that was interrupted may take to notice.
_PATIENCE = 3.0
_CLOSED: dict[str, str | bool] = {
    "temp_directory": "",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}


@dataclass(frozen=True)
class Limits:
    """What a query may take.

    Attributes:
        seconds: time.
        megabytes: memory for what DuckDB sorts, joins and groups, and for the answer.
        unsafe: whether it may also read and write files, and load extensions.
    """

    seconds: float = 300.0
    megabytes: int = 2048
    unsafe: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.megabytes < 1:
            raise InputError("A query needs more than 0 seconds and at least 1 megabyte.")


@dataclass(frozen=True)
class Tables:
    """What can be asked.

    Attributes:
        frames: tables in memory, by name.
        files: Parquet files that together are one table, by name.
        views: further tables, as queries over those.
    """

    frames: Mapping[str, Any]
    files: Mapping[str, Sequence[Path]]
    views: Mapping[str, str]


def answer(query: str, tables: Callable[[], Tables], limits: Limits) -> pd.DataFrame:
    """The rows that a query gives; the tables are only made for a query that is allowed.

    Raises:
        InputError: the query is empty, wrong, forbidden, too long, or goes beyond its limits.
        MissingDependencyError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingDependencyError("duckdb", "corpus", "Asking a corpus in SQL") from None

    _check_text(query)
    connection = duckdb.connect()
    try:
        _check_statements(connection, query, limits)
        _prepare(connection, tables(), limits)
        return _Running(connection, query, limits).result()
    except duckdb.Error as error:
        raise _refused(error, limits) from None


def _check_text(query: str) -> None:
    if not query.replace(";", " ").strip():
        raise InputError("The query is empty; write SQL such as 'SELECT * FROM heads LIMIT 3'.")
    if len(query) > _LONGEST:
        raise InputError(f"The query has {len(query):,} characters; at most {_LONGEST:,} are taken.")
    if not query.isascii() and any("\ud800" <= letter <= "\udfff" for letter in query):
        raise InputError("The query has characters that are no text (lone surrogates).")


def _prepare(connection: duckdb.DuckDBPyConnection, tables: Tables, limits: Limits) -> None:
    for name, frame in tables.frames.items():
        connection.register(name, frame)
    connection.execute(f"SET memory_limit='{limits.megabytes}MB'")
    if not limits.unsafe:
        allowed = ", ".join(_quoted(path) for paths in tables.files.values() for path in paths)
        connection.execute(f"SET allowed_paths=[{allowed}]")
        for name, value in _CLOSED.items():
            connection.execute(f"SET {name}={_quoted(value) if isinstance(value, str) else value}")
        connection.execute("SET lock_configuration=true")
    for name, paths in tables.files.items():
        read = ", ".join(map(_quoted, paths))
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{read}])")  # noqa: S608
    for name, view in tables.views.items():
        connection.execute(f"CREATE VIEW {name} AS {view}")


def _check_statements(connection: duckdb.DuckDBPyConnection, query: str, limits: Limits) -> None:
    """There must be a statement; unless unsafe, one alone that reads (EXPLAIN can run one that writes)."""
    from duckdb import StatementType

    statements = connection.extract_statements(query)
    if not statements:
        raise InputError("The query is empty; write SQL such as 'SELECT * FROM heads LIMIT 3'.")
    if limits.unsafe:
        return
    if len(statements) > 1:
        raise InputError(f"Only one query at a time is allowed, not {len(statements)}.")
    kind = statements[0].type
    if kind not in (StatementType.SELECT, StatementType.MULTI):  # the latter is PIVOT
        raise InputError(
            f"{kind.name} is not allowed; queries may only read the store's tables",
            [Option("unsafe", "True", "pass {} if you trust the query")],
        )


class _Running:
    """A query in a thread of its own, so that the caller can be interrupted and the query with it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: str, limits: Limits) -> None:
        self.connection, self.query, self.limits = connection, query, limits
        self.rows: pd.DataFrame | None = None
        self.error: BaseException | None = None
        self.ended = False
        # An event, because a thread whose join is interrupted counts as ended in some versions of Python.
        self.done = threading.Event()
        # A daemon, so that a query that does not notice its end cannot keep the process alive.
        self.thread = threading.Thread(target=self._run, daemon=True)

    def result(self) -> pd.DataFrame:
        stop = time.monotonic() + self.limits.seconds
        self.thread.start()
        try:
            while not self.done.wait(0.1):
                if time.monotonic() > stop:
                    raise InputError(
                        f"The query took longer than {self.limits.seconds:g} seconds",
                        ["ask for less", Option("timeout", "…", "raise {}")],
                    )
        finally:
            self._end()
        if self.error is not None:
            raise self.error
        assert self.rows is not None
        return self.rows

    def _end(self) -> None:
        import duckdb

        stop = time.monotonic() + _PATIENCE
        self.ended = True
        while not self.done.is_set() and time.monotonic() < stop:
            with suppress(duckdb.Error):  # busy for a moment; asked again
                self.connection.interrupt()
            self.done.wait(0.05)
        if self.done.is_set():  # else it would wait for the query
            self.connection.close()

    def _run(self) -> None:
        import duckdb

        try:
            self.rows = self._fetched()
        except (duckdb.Error, InputError) as error:
            self.error = error
        except (RuntimeError, ValueError, ArithmeticError, MemoryError, TypeError) as error:
            self.error = InputError(f"The query's answer cannot be turned into a table ({error}).")
        finally:
            self.done.set()

    def _fetched(self) -> pd.DataFrame:
        """The answer in runs of rows, up to as much memory as it may take."""
        import pandas as pd

        asked = self.connection.execute(self.query)
        parts = [asked.fetch_df_chunk(_VECTORS)]
        size = 0
        while len(parts[-1]) and not self.ended:
            size += int(parts[-1].memory_usage(deep=True).sum())
            if size > self.limits.megabytes << 20:
                raise InputError(
                    f"The query's answer has more than {self.limits.megabytes:,} MB",
                    ["add a LIMIT", "summarize", Option("memory", "…", "raise {}")],
                )
            parts.append(asked.fetch_df_chunk(_VECTORS))
        return parts[0] if len(parts) <= 2 else pd.concat(parts[:-1], ignore_index=True)


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _refused(error: duckdb.Error, limits: Limits) -> InputError:
    """What DuckDB says, without its drawing of the query, in one line."""
    said = " ".join(str(error).partition("\n\nLINE ")[0].split()).rstrip(".")
    closed = "disabled by configuration", "disabled through configuration", "has been locked"
    remedies: list[str | Option] = []
    if any(words in said for words in closed):
        said += ". Queries may only read the store's tables"
        remedies = [Option("unsafe", "True", "pass {} if you trust the query")]
    elif "Out of Memory" in said:
        said = f"it needs more than {limits.megabytes:,} MB"
        remedies = ["ask for less", Option("memory", "…", "raise {}")]
    return InputError(f"The query cannot be answered: {said}", remedies)
