"""What can still be read from a damaged spool file, in a new one.

The law: nothing is written to the damaged file, but for what SQLite moves from its -wal when it
is closed; and what is read from it is a row, or is left out.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.schema import connect
from kiel_logging.handler.spool.store import Store

_TOGETHER: Final = 500

# From both ends: all but what lies between the first damaged page and the last.
_FORWARDS: Final = "SELECT place, topic, payload FROM rows WHERE place > ? ORDER BY place"
_BACKWARDS: Final = "SELECT place, topic, payload FROM rows WHERE place > ? ORDER BY place DESC"


def salvage(damaged: Path, copy: Path) -> int:
    """Make the file ``copy`` of what can be read; return how many rows that is.

    Raises:
        SpoolError: there is no room for it.
    """
    with contextlib.ExitStack() as stack:
        connection = _connect(damaged)
        if connection is None:
            return 0
        stack.callback(connection.close)
        store = Store.make(copy, _instance(connection, damaged))
        stack.callback(store.close)
        store.append((), _streams(connection))
        _copy(_readable(connection, _FORWARDS, 0), store.append)
        _copy(_readable(connection, _BACKWARDS, store.last_place), store.append)
        store.checkpoint()
        return store.rows


def _connect(damaged: Path) -> sqlite3.Connection | None:
    connection = None
    try:
        connection = connect(damaged)
        # First of all: else SQLite refuses to read anything of a file that was cut short.
        connection.execute("PRAGMA writable_schema = ON")
    except sqlite3.Error:
        if connection is not None:
            connection.close()
        return None
    connection.text_factory = bytes
    return connection


def _copy(rows: Iterator[Row], append: Callable[[list[Row]], None]) -> None:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == _TOGETHER:
            append(some)
            some = []
    append(some)


def _readable(connection: sqlite3.Connection, question: str, after: int) -> Iterator[Row]:
    with contextlib.suppress(sqlite3.Error):
        for place, topic, payload in connection.execute(question, (after,)):
            name = _text(topic)
            if name and isinstance(payload, bytes):
                yield Row(place, name, payload)


def _streams(connection: sqlite3.Connection) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with contextlib.suppress(sqlite3.Error):
        for topic, state in connection.execute("SELECT topic, state FROM streams"):
            name = _text(topic)
            if name and isinstance(state, bytes):
                found[name] = state
    return found


def _instance(connection: sqlite3.Connection, damaged: Path) -> str:
    with contextlib.suppress(sqlite3.Error):
        for (value,) in connection.execute("SELECT value FROM meta WHERE key = 'instance'"):
            return _text(value) or damaged.stem
    return damaged.stem


def _text(value: Any) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode("ascii") if isinstance(value, bytes) else ""
    return ""
