"""Events: the handler's own records in a stream. Its start, pauses and end, and what is lost.

Each event is a log record for people, made as all others are, with headers for readers that verify
(``proof/headers.py`` has what they hold). Streams without a chain have ``drops`` and ``omissions``
only.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import MOST_RANGES, Loss, ranges
from kiel_logging.proof import headers
from kiel_logging.proof.chain import NO_KEY
from kiel_logging.proof.instances import RANDOM_SIZE, new_instance
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.fields import HOST
from kiel_logging.record.item import Item, make_item
from kiel_logging.records import Header
from kiel_logging.wire.sizes import header_size

_MOST_OF_A_NAME: Final = 120
"""Characters of a name in the details of an event: readers accept a few KB of details."""

ConvertOwn: TypeAlias = Callable[[logging.LogRecord, str, int], Item]
"""Makes an item of a record for a topic, and leaves so many bytes of a request for headers."""


def instance_now() -> str:
    """Return the id of an instance that begins now."""
    return new_instance(time.time_ns() // 1_000_000, os.urandom(RANDOM_SIZE))


class EventItem(Item):
    """An item made of an event. ``loss`` is what the event reports; None for other events."""

    loss: Loss | None


class Event(NamedTuple):
    """The name of an event, its details for readers that verify, and its record for people."""

    name: str
    details: dict[str, Any]
    record: logging.LogRecord
    loss: Loss | None = None


class Recovered(NamedTuple):
    """One stream of an instance that died, as it was found on disk.

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


def start(handler: str, topic: str, instance: str, key_id: str, facts: Mapping[str, str]) -> Event:
    """Return the event that starts a stream: its writer, and everything that its digests cover.

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
    """Return the event that a stream gets when its instance may end, or may continue."""
    return Event(headers.PAUSE, evidence, _record(logging.INFO, "pause", "audit stream paused"))


def end(evidence: dict[str, Any]) -> Event:
    """Return the event that ends a stream."""
    return Event(headers.END, evidence, _record(logging.INFO, "end", "audit stream ended"))


def checkpoint(evidence: dict[str, Any]) -> Event:
    """Return the event that bears a signed checkpoint of a stream."""
    record = _record(logging.INFO, "checkpoint", "audit stream signed so far")
    return Event(headers.CHECKPOINT, evidence, record)


def rotation(old: str, new: str) -> Event:
    """Return the event behind which a stream is sealed with another key; takes their ids."""
    text = "audit stream continues with key %s"
    return Event(
        headers.ROTATION, {"from": old, "to": new}, _record(logging.INFO, "rotation", text, new)
    )


def drops(loss: Loss) -> Event:
    """Return the event that reports what a stream lacks, because it was lost or on purpose."""
    if loss.is_on_purpose:
        record = _record(logging.INFO, "omissions", "%s", loss)
        record.left_out = loss.by_reason()
        return Event(headers.OMISSIONS, {"records": loss.records}, record, loss)
    details: dict[str, Any] = {"records": loss.records}
    if loss.numbers:
        details["numbers"] = ranges(loss.numbers)
    record = _record(logging.WARNING, "drops", "%s", loss)
    record.dropped = loss.by_reason()
    return Event(headers.DROPS, details, record, loss)


def recovery(found: Recovered) -> Event:
    """Return the event that reports an instance that died, and what was found of it."""
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
    return logging.LogRecord("kiel_logging", level, __file__, 0, text, arguments, None, function)


class Events:
    """Makes items of events, as the handler's options say; on any thread.

    Args:
        convert: makes an item of a log record.
        internal_log: where a failure is reported.
        name: returns the handler's name.
        stamper: knows the instance and the chain.
        facts: returns what the start of a topic's stream says of the key that signs it.
        keyed: whether the instance is the key of those that would have none. Without a key they
            may go to another partition when they are sent again, behind records that came later.
    """

    def __init__(
        self,
        convert: ConvertOwn,
        internal_log: InternalLog,
        name: Callable[[], str | None],
        stamper: Stamper,
        facts: Callable[[str], Mapping[str, str]] = lambda _topic: {},
        *,
        keyed: bool = False,
    ) -> None:
        self._convert = convert
        self._internal_log = internal_log
        self._name = name
        self._stamper = stamper
        self._facts = facts
        self._keyed = keyed

    def start(self, topic: str) -> EventItem | None:
        """Return the item that starts the stream of ``topic``; None without a chain, or if it
        can't be made."""
        stamper = self._stamper
        if not stamper.chained:
            return None
        key_id = stamper.key_id or NO_KEY
        name, facts = self._name() or "", self._facts(topic)
        return self.make(start(name, topic, stamper.instance, key_id, facts), topic)

    def make(self, event: Event, topic: str) -> EventItem | None:
        """Return the item of ``event`` for ``topic``; None if it can't be made, which is
        reported."""
        marks = _marks(event)
        instance = self._stamper.instance
        try:
            made = self._convert(event.record, topic, sum(map(header_size, marks)) + len(instance))
        except Exception as error:  # such as a key maker that does not expect this record
            kind = "summary" if event.loss is not None else f"{event.name!r}"
            self._internal_log.complain(event.name, f"no {kind} for {topic!r}: {error!r}")
            return None
        record = made.record._replace(headers=made.record.headers + marks)
        key = made.key
        if record.key is None and self._keyed:
            key, record = instance, record._replace(key=instance.encode())
        item = EventItem(*make_item(topic, key, record, made.level, made.source))
        item.loss = event.loss
        return item


def _marks(event: Event) -> tuple[Header, Header]:
    details = json.dumps(event.details, separators=(",", ":"))
    return (headers.EVENT, event.name.encode()), (headers.DETAILS, details.encode())
