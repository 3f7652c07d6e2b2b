"""The handler's own records in a stream: its start, pauses and end, and what is lost.

Each event is a log record for people, as all others are made, and has headers for readers that
verify: see kiel_logging/proof/headers.py for what they hold. Without a chain there are only drops.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import MOST_RANGES, Loss, ranges, summary_record
from kiel_logging.proof import headers
from kiel_logging.proof.instances import RANDOM_SIZE, new_instance
from kiel_logging.record.fields import HOST
from kiel_logging.record.item import Item, make_item
from kiel_logging.records import Header
from kiel_logging.wire.sizes import header_size

LOGGER: Final = "kiel_logging"

_MOST_OF_A_NAME: Final = 120
"""Characters of a name in the details of an event: readers take details of a few KB."""

ConvertOwn: TypeAlias = Callable[[logging.LogRecord, str, int], Item]
"""Makes an item of a record for a topic, and leaves so many bytes of a request for headers."""


def instance_now() -> str:
    """Return the id of an instance that begins now."""
    return new_instance(time.time_ns() // 1_000_000, os.urandom(RANDOM_SIZE))


class EventItem(Item):
    """An item of the handler's own. ``loss`` is what it tells of, if it does."""

    loss: Loss | None


class Event(NamedTuple):
    """What is to be said: the name of the event, its details, and the record for people."""

    name: str
    details: dict[str, Any]
    record: logging.LogRecord
    loss: Loss | None = None


def start(handler: str, topic: str, instance: str, key_id: str, facts: Mapping[str, str]) -> Event:
    """Return the record that starts a stream: its writer, and everything that its digests cover.

    ``facts`` say which key signs its checkpoints, if any does.
    """
    text, arguments = "audit stream started by %s", (handler or "a handler",)
    if not key_id:
        text += ", without a key: anybody can compute its digests"
    record = _record(logging.INFO, "start", text, *arguments)
    details = {
        "handler": handler[:_MOST_OF_A_NAME],
        "host": HOST[:_MOST_OF_A_NAME],
        "process": record.process,
        "topic": topic,
        "instance": instance,
        "key": key_id,
        **facts,
    }
    return Event(headers.START, details, record)


def pause(evidence: dict[str, Any]) -> Event:
    """Return the record that a stream has when its instance may end, or may continue."""
    return Event(headers.PAUSE, evidence, _record(logging.INFO, "pause", "audit stream paused"))


def end(evidence: dict[str, Any]) -> Event:
    """Return the record that ends a stream."""
    return Event(headers.END, evidence, _record(logging.INFO, "end", "audit stream ended"))


def checkpoint(evidence: dict[str, Any]) -> Event:
    """Return the record that bears a signed checkpoint of a stream."""
    record = _record(logging.INFO, "checkpoint", "audit stream signed so far")
    return Event(headers.CHECKPOINT, evidence, record)


def drops(loss: Loss) -> Event:
    """Return the event for what a stream lacks."""
    details: dict[str, Any] = {"records": loss.records}
    if loss.numbers:
        details["numbers"] = ranges(loss.numbers)
    return Event(headers.DROPS, details, summary_record(loss), loss)


class Recovered(NamedTuple):
    """What was found on disk of one stream of an instance that died.

    Attributes:
        instance: its id.
        records: how many of its records were found.
        last: the last number that it is known to have given.
        complete: whether it can have given no later one.
        lost: the numbers of records that can't be read any more.
    """

    instance: str
    records: int
    last: int
    complete: bool
    lost: Collection[int] = ()


def recovery(found: Recovered) -> Event:
    """Return the record that tells of an instance that died, and of what was found of it."""
    record = _record(
        logging.WARNING,
        "recovery",
        "audit stream of %s, which died, ends with record %d; %d of them were found on disk",
        found.instance,
        found.last,
        found.records,
    )
    details: dict[str, Any] = {
        "instance": found.instance,
        "records": found.records,
        "last": found.last,
        "complete": found.complete,
    }
    if found.lost:
        details["lost"] = ranges(found.lost)[:MOST_RANGES]
    return Event(headers.RECOVERY, details, record)


def _record(level: int, function: str, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(LOGGER, level, __file__, 0, text, arguments, None, function)


class Events:
    """Makes events as the handler's options say.

    Args:
        convert: makes an item of a log record.
        internal_log: where it is told when that fails.
    """

    def __init__(self, convert: ConvertOwn, internal_log: InternalLog) -> None:
        self._convert = convert
        self._internal_log = internal_log

    def make(self, event: Event, topic: str) -> EventItem | None:
        """Return the event for ``topic``; None when it can't be made, which is told."""
        marks = _marks(event)
        try:
            made = self._convert(event.record, topic, sum(map(header_size, marks)))
        except Exception as error:  # a key maker of the user's that can't do with this record
            kind = "summary" if event.name == headers.DROPS else f"{event.name!r}"
            self._internal_log.complain(event.name, f"no {kind} for {topic!r}: {error!r}")
            return None
        record = made.record._replace(headers=made.record.headers + marks)
        item = EventItem(*make_item(topic, made.key, record, made.level, made.source))
        item.loss = event.loss
        return item


def _marks(event: Event) -> tuple[Header, Header]:
    details = json.dumps(event.details, separators=(",", ":"))
    return (headers.EVENT, event.name.encode()), (headers.DETAILS, details.encode())
