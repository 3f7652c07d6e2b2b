"""The short way from LogRecord to Item, for records that need no care: nearly all of them.

The law: what it returns is what the long way (``conversion.py``) returns, to the byte; where it
can't be sure of that, it returns None. What is the same for all records of a call site is encoded
once; C writes the rest. A record needs care when it has an exception or a stack, values that can't
be shown, names that are taken, or is too large.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from logging import LogRecord
from operator import itemgetter
from types import NoneType
from typing import Any, Final, TypeAlias

from kiel_logging.record.item import ITEM_MEMORY_OVERHEAD, SOURCE_MEMORY, Item
from kiel_logging.record.json_text import json_bytes
from kiel_logging.record.log_record import (
    HOST,
    OUR_FIELDS,
    OWN_ATTRIBUTES,
    RESERVED,
    current_task_name,
    running_loop,
    task_name,
)
from kiel_logging.record.plain import make_plain
from kiel_logging.record.topic_choice import TopicChoice
from kiel_logging.record.trace_ids import trace_ids
from kiel_logging.records import Header, Record
from kiel_logging.wire.sizes import record_size

_OWN_NAMES: Final = list(OWN_ATTRIBUTES)
_OWN: Final = len(_OWN_NAMES)
"""The attributes that logging gives a record, in order; extras come behind them."""

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

_site_of: Final = itemgetter(*_ATTRIBUTES.values())
_PLACES: Final = (
    *("exc_info", "exc_text", "stack_info", "msg", "args", "created", "levelno", "taskName"),
    *_ATTRIBUTES.values(),
)
"""What C wants to know the places of."""

_SITE_TYPES: Final = frozenset({str, int, NoneType})
_MOST_SITES: Final = 4_096
_MOST_SITE_MEMORY: Final = 4 * 1024 * 1024
"""Bytes of what is known of call sites: names of loggers and threads may have any length."""

_LARGE_SITE: Final = 64 * 1024
"""Bytes of one that is not worth knowing."""

_MOST_EXTRAS: Final = 500
_MOST_TIMESTAMP: Final = 2**63
_OPEN_TELEMETRY: Final = "opentelemetry.trace"
_NONE: Final[dict[str, Any]] = {}
_RECORD_SIZE: Final = record_size(Record(None, None, (), 0))

_new: Final[Any] = tuple.__new__
"""Makes a named tuple of a tuple, in a third of the time."""

try:
    from kiel_logging._accelerator import compose, convert, convert_quick
except ImportError:  # there was no C compiler
    IN_C = False
else:
    IN_C = True

_Site: TypeAlias = tuple[bytes, bytes]


def attribute_of(field: str) -> str | None:
    """Return the name of the LogRecord's attribute that ``field`` is; None where it is not one."""
    if "." in field or (field in OUR_FIELDS and field not in _ATTRIBUTES):
        return None
    return _ATTRIBUTES.get(field, field)


class Quick:
    """Makes Items of records that need no care, where there is C.

    Args:
        topic: LogRecord -> topic name, or the name of all.
        key: the attribute or field that has the key; None for none.
        headers: names of headers -> attributes or fields.
        context: returns fields of the surroundings.
        fields: static ones, with plain values.
        most: most bytes of a record in a batch.
        keep_source: as Conversion has it.

    Attributes:
        convert_in_c: as ``convert()``, for fewer records, and without running any code of the
            program's; None where C can't do with the options.
        convert_quick: as ``convert_in_c``, but returns the item in one piece where it can.
        settings_in_c: what it goes by.
    """

    def __init__(
        self,
        *,
        topic: TopicChoice | str,
        key: str | None,
        headers: Mapping[str, str],
        context: Callable[[], Mapping[str, Any]] | None,
        fields: Mapping[str, Any],
        most: int,
        keep_source: bool,
    ) -> None:
        self._topic: TopicChoice = (lambda _record: topic) if isinstance(topic, str) else topic
        self._key = key
        self._headers = list(headers.items())
        self._context = context
        self._taken = frozenset((*OUR_FIELDS, *fields, *RESERVED))
        self._end = b"," + json_bytes(dict(fields))[1:] if fields else b"}"
        self._most = most
        self._keep_source = keep_source
        self._sites: dict[Any, _Site] = {}
        self._site_memory = 0
        self.settings_in_c: tuple[Any, ...] | None = None
        self.convert_in_c: Callable[[LogRecord], Item | None] | None = None
        self.convert_quick: Callable[[LogRecord], Any] | None = None
        if isinstance(topic, str) and not headers and context is None and not keep_source:
            self._go_to_c(topic, most)

    def convert(self, record: LogRecord) -> Item | None:
        """Return the item; None for a record that needs care."""
        try:
            return self._convert(record, record.__dict__)
        except Exception:  # the long way will say what is wrong, if anything is
            return None

    def _convert(self, record: LogRecord, own: dict[str, Any]) -> Item | None:
        if own["exc_info"] or own["exc_text"] or own["stack_info"]:
            return None
        more, skipped = self._more(own)
        place = _site_of(own)
        if not _SITE_TYPES.issuperset(map(type, place)):  # True would be found as 1
            return None
        head, tail = self._sites.get(place) or self._new_site(place)
        if (task := task_name(record)) is not None:
            tail += b',"task":' + json_bytes(task)
        created, message, most = own["created"], _message(record, own), self._most

        def composed(skipped: int, more: dict[str, Any]) -> bytes | None:
            taken, end = self._taken, self._end
            return compose(created, head, message, tail, own, skipped, more, taken, end, most)

        value = composed(skipped, more)
        if value is None:  # a datetime among the fields, say
            shown = {**(_extras(own) if skipped < len(own) else {}), **more}
            value = None if make_plain(shown, most).replaced else composed(len(own), shown)
        return None if value is None else self._item(record, own, more, value)

    def _go_to_c(self, topic: str, most: int) -> None:
        self.settings_in_c = (  # in the order of the enum in accelerator.h
            LogRecord,
            Record,
            Item,
            self._sites,
            self._new_site,
            tuple(_OWN_NAMES),
            bytes(_OWN_NAMES.index(name) if name in _OWN_NAMES else 255 for name in _PLACES),
            running_loop,
            current_task_name,
            sys.modules,
            topic,
            self._key,
            self._taken,
            self._end,
            _RECORD_SIZE,
            ITEM_MEMORY_OVERHEAD,
            most,
        )
        self.convert_in_c = partial(convert, self.settings_in_c)
        self.convert_quick = partial(convert_quick, self.settings_in_c)

    def _item(
        self, record: LogRecord, own: dict[str, Any], more: dict[str, Any], value: bytes
    ) -> Item | None:
        key = None if self._key is None else more.get(self._key, own.get(self._key))
        data = key.encode() if type(key) is str else _key_bytes(key)
        headers = self._find_headers(own, more) if self._headers else ()
        kept: Record = _new(Record, (data, value, headers, int(own["created"] * 1000)))
        size = record_size(kept) if headers else _RECORD_SIZE + len(value) + len(data or b"")
        level = own["levelno"]
        if size > self._most or kept.timestamp >= _MOST_TIMESTAMP or not isinstance(level, int):
            return None
        memory, source = size + ITEM_MEMORY_OVERHEAD, None
        if self._keep_source:
            memory, source = memory + SOURCE_MEMORY, record
        topic = self._topic(record)
        item: Item = _new(Item, (topic, key, kept, size, memory, level, source, None))
        return item

    def _more(self, own: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Return fields to be added, and how many of the record's attributes are none."""
        more, skipped = _NONE, _OWN
        if "message" in own or len(own) > _OWN + _MOST_EXTRAS:  # a Formatter of others left it
            more, skipped = _extras(own), len(own)
        if self._context is not None:
            more = _joined(more, self._context(), own)
        if _OPEN_TELEMETRY in sys.modules:
            more = _joined(more, trace_ids(), own)
        return more, skipped

    def _new_site(self, place: tuple[Any, ...]) -> _Site:
        memory = sum(map(sys.getsizeof, place))
        if memory > _LARGE_SITE:
            raise ValueError("such names take a closer look")
        fields = dict(zip(_ATTRIBUTES, place, strict=True))
        level, logger = json_bytes(fields.pop("level")), json_bytes(fields.pop("logger"))
        head = b'","level":%b,"logger":%b,"message":' % (level, logger)
        site = head, b"," + json_bytes({**fields, "host": HOST})[1:-1]
        self._site_memory += memory + sum(map(sys.getsizeof, site))
        if len(self._sites) >= _MOST_SITES or self._site_memory > _MOST_SITE_MEMORY:
            self._sites.clear()
            self._site_memory = 0
        self._sites[place] = site
        return site

    def _find_headers(self, own: dict[str, Any], more: dict[str, Any]) -> tuple[Header, ...]:
        found = ((name, more.get(field, own.get(field))) for name, field in self._headers)
        return tuple((name, _header_bytes(value)) for name, value in found if value is not None)


def _message(record: LogRecord, own: dict[str, Any]) -> str:
    text, arguments = own["msg"], own["args"]
    if type(text) is not str:
        raise TypeError("such a message takes a closer look")
    if type(record) is not LogRecord:
        return record.getMessage()
    return text % arguments if arguments else text  # as getMessage(), without its call


def _extras(own: dict[str, Any]) -> dict[str, Any]:
    extras = {name: value for name, value in own.items() if name not in RESERVED}
    if len(extras) > _MOST_EXTRAS:
        raise ValueError("so many fields take a closer look")
    return extras


def _joined(
    fields: dict[str, Any], others: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    if not (others.keys().isdisjoint(own) and others.keys().isdisjoint(fields)):
        raise ValueError("names that are taken take a closer look")
    return {**fields, **others}


def _key_bytes(key: object) -> bytes | None:
    if key is None or type(key) is bytes:
        return key
    if type(key) is int:
        return b"%d" % key
    raise TypeError("such a key takes a closer look")


def _header_bytes(value: object) -> bytes:
    if type(value) is not str:
        raise TypeError("such a header takes a closer look")
    return value.encode()
