"""The short way from LogRecord to Item, for records that need no care: nearly all of them.

The law: what it returns is what the long way (``conversion.py``) returns, to the byte; where it
can't be sure of that, it returns None. What is the same for all records of a call site is encoded
once. A record needs care when it has an exception or a stack, values that JSON does not have, names
that are taken, or is too large.
"""

import sys
from asyncio import _get_running_loop
from collections.abc import Callable, Mapping
from itertools import islice
from logging import LogRecord, makeLogRecord
from operator import itemgetter
from types import NoneType
from typing import Any, Final, TypeAlias

import orjson

from kiel_logging.delivery.batch import RECORD_MEMORY_OVERHEAD
from kiel_logging.handler.conversion.log_record import EXTRA, HOST, RESERVED, rfc3339, task_name
from kiel_logging.handler.conversion.notes import NOTES
from kiel_logging.handler.conversion.plain import make_plain
from kiel_logging.handler.conversion.topic_choice import TopicChoice
from kiel_logging.handler.conversion.trace_ids import trace_ids
from kiel_logging.handler.pipeline.item import SOURCE_MEMORY, Item
from kiel_logging.records import Header, Record
from kiel_logging.wire.record_batch import BATCH_OVERHEAD, record_size

_OWN: Final = len(makeLogRecord({}).__dict__)
"""How many attributes logging gives a record; extras come behind them."""

_ATTRIBUTES: Final[Mapping[str, str]] = {
    "level": "levelname",
    "logger": "name",
    "module": "module",
    "function": "funcName",
    "line": "lineno",
    "path": "pathname",
    "process": "process",
    "process_name": "processName",
    "thread": "thread",
    "thread_name": "threadName",
}
"""Fields that are an attribute of the LogRecord as it is, in the order in which they are written:
the first two before the message, the others behind it."""

_FIELDS: Final = frozenset(
    (*_ATTRIBUTES, "time", "message", "host", "task", "exception", "stack", EXTRA, NOTES)
)
_site_of: Final = itemgetter(*_ATTRIBUTES.values())
_SITE_TYPES: Final = frozenset({str, int, NoneType})
_MOST_SITES: Final = 4_096

_ATOMS: Final = frozenset({str, int, bool, NoneType})
_STR: Final = frozenset({str})
_RECORD: Final = record_size(Record(None, None, (), 0))
_dumps: Final = orjson.dumps

_Site: TypeAlias = tuple[bytes, bytes]


def attribute_of(field: str) -> str | None:
    """Return the name of the LogRecord's attribute that ``field`` is; None where it is not one."""
    if "." in field or (field in _FIELDS and field not in _ATTRIBUTES):
        return None
    return _ATTRIBUTES.get(field, field)


class Quick:
    """Makes Items of records that need no care.

    Args:
        topic: LogRecord -> topic name.
        key: the attribute or field that has the key; None for none.
        headers: names of headers -> attributes or fields.
        context: returns fields of the surroundings.
        fields: static ones, with plain values.
        most: most bytes of a record in a batch.
        keep_source: as Conversion has it.
    """

    def __init__(
        self,
        *,
        topic: TopicChoice,
        key: str | None,
        headers: Mapping[str, str],
        context: Callable[[], Mapping[str, Any]] | None,
        fields: Mapping[str, Any],
        most: int,
        keep_source: bool,
    ) -> None:
        self._topic = topic
        self._key = key
        self._headers = list(headers.items())
        self._context = context
        self._names = frozenset((*_FIELDS, *fields))
        self._end = b"," + _dumps(dict(fields))[1:] if fields else b"}"
        self._most = most
        self._keep_source = keep_source
        self._sites: dict[Any, _Site] = {}

    def convert(self, record: LogRecord) -> Item | None:
        """Return the item; None for a record that needs care."""
        try:
            return self._convert(record, record.__dict__)
        except Exception:  # the long way will say what is wrong, if anything is
            return None

    def _convert(self, record: LogRecord, own: dict[str, Any]) -> Item | None:
        more = self._more(own)
        if more is None or own["exc_info"] or own["exc_text"] or own["stack_info"]:
            return None
        site = self._sites.get(_site_of(own)) or self._new_site(own)
        created = own["created"]
        value = b"".join(
            (
                b'{"time":"',
                rfc3339(created).encode(),
                site[0],
                _dumps(record.getMessage()),
                site[1],
                b"," + _dumps(more)[1:-1] if more else b"",
                self._end,
            )
        )
        key = None if self._key is None else more.get(self._key, own.get(self._key))
        data = _key_bytes(key)
        headers = self._find_headers(own, more) if self._headers else ()
        kept = Record(data, value, headers, int(created * 1000))
        size = _RECORD + len(value) + len(data or b"") if not headers else record_size(kept)
        if size > self._most or created < 0:
            return None
        level = own["levelno"]
        memory = size + RECORD_MEMORY_OVERHEAD
        if not self._keep_source:
            return Item(self._topic(record), key, kept, size, memory, level)
        return Item(self._topic(record), key, kept, size, memory + SOURCE_MEMORY, level, record)

    def _more(self, own: dict[str, Any]) -> dict[str, Any] | None:
        """Return the fields behind our own, made plain; None where they need care."""
        more: dict[str, Any] = {}
        task = task_name_of(own)
        if len(own) > _OWN:
            more = dict(islice(own.items(), _OWN, None))
            if not RESERVED.isdisjoint(more):  # a Formatter of another handler's was here
                more = {name: value for name, value in own.items() if name not in RESERVED}
        if self._context is not None and not _add(more, self._context()):
            return None
        if "opentelemetry.trace" in sys.modules and not _add(more, trace_ids()):
            return None
        if more and not self._is_plain(more):
            return None
        return more if task is None else {"task": task, **more}

    def _is_plain(self, more: dict[str, Any]) -> bool:
        return (
            self._names.isdisjoint(more)
            and _STR.issuperset(map(type, more))
            and (_ATOMS.issuperset(map(type, more.values())) or not make_plain(more))
        )

    def _new_site(self, own: dict[str, Any]) -> _Site:
        values = _site_of(own)
        if not _SITE_TYPES.issuperset(map(type, values)):
            raise TypeError("a record that somebody made up")
        fields = dict(zip(_ATTRIBUTES, values, strict=True))
        level, logger = _dumps(fields.pop("level")), _dumps(fields.pop("logger"))
        head = b'","level":%b,"logger":%b,"message":' % (level, logger)
        site = head, b"," + _dumps({**fields, "host": HOST})[1:-1]
        if len(self._sites) >= _MOST_SITES:
            self._sites = {}
        self._sites[values] = site
        return site

    def _find_headers(self, own: dict[str, Any], more: dict[str, Any]) -> tuple[Header, ...]:
        found = ((name, more.get(field, own.get(field))) for name, field in self._headers)
        return tuple((name, _header_bytes(value)) for name, value in found if value is not None)


def task_name_of(own: dict[str, Any]) -> str | None:
    """Return the name of the asyncio task that logs, as ``task_name`` does."""
    if sys.version_info >= (3, 12):
        name: str | None = own["taskName"]
        return name
    return None if _get_running_loop() is None else task_name(_ANY)


_ANY: Final = makeLogRecord({})


def _add(more: dict[str, Any], others: Mapping[str, Any]) -> bool:
    """Add ``others``; return whether none of their names was taken."""
    if not others.keys().isdisjoint(more):
        return False
    more.update(others)
    return True


def _key_bytes(key: object) -> bytes | None:
    if type(key) is str:
        return key.encode()
    if key is None or type(key) is bytes:
        return key
    if type(key) is int:
        return b"%d" % key
    raise TypeError("a key that needs care")


def _header_bytes(value: object) -> bytes:
    if type(value) is not str:
        raise TypeError("a header that needs care")
    return value.encode()
