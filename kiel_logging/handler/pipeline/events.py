"""What the handler itself has to say in a stream: its first word and its last, and what is lost.

Each event is a log record for people, as all others are made, and has headers for readers that
verify: see kiel_logging/proof/headers.py for what they hold. Without a chain there are only drops.
"""

import json
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.handler.conversion.log_record import HOST
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.item import Item, make_item
from kiel_logging.handler.pipeline.loss_report import summary_record
from kiel_logging.handler.pipeline.losses import Loss
from kiel_logging.proof import headers
from kiel_logging.records import Header
from kiel_logging.wire.sizes import header_size

LOGGER: Final = "kiel_logging"

ConvertOwn: TypeAlias = Callable[[logging.LogRecord, str, int], Item]
"""Makes an item of a record for a topic, and leaves so many bytes of a request for headers."""


class Event(Item):
    """An item of the handler's own. ``loss`` is what it tells of, if it does."""

    loss: Loss | None


class Word(NamedTuple):
    """What is to be said: the name of the event, its details, and the record for people."""

    name: str
    details: dict[str, Any]
    record: logging.LogRecord
    loss: Loss | None = None


def start(handler: str) -> Word:
    """Return the first word of an instance: who it is."""
    record = _record(logging.INFO, "start", "audit stream started by %s", handler or "a handler")
    return Word(
        headers.START, {"handler": handler, "host": HOST, "process": record.process}, record
    )


def end(sequence: int) -> Word:
    """Return the last word of an instance, which is the record with that number."""
    record = _record(logging.INFO, "end", "audit stream ended with record %d", sequence)
    return Word(headers.END, {"records": sequence}, record)


def drops(loss: Loss) -> Word:
    """Return the word for what a stream lacks."""
    return Word(headers.DROPS, {"records": loss.records}, summary_record(loss), loss)


def recovery(instance: str, records: int, last: int) -> Word:
    """Return the word for an instance that died: how many of its records were found on disk, and
    the last number that it is known to have given."""
    record = _record(
        logging.WARNING,
        "recovery",
        "audit stream of %s, which died, ends with record %d; %d of them were found on disk",
        instance,
        last,
        records,
    )
    return Word(headers.RECOVERY, {"instance": instance, "records": records, "last": last}, record)


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

    def make(self, word: Word, topic: str) -> Event | None:
        """Return the event for ``topic``; None when it can't be made, which is told."""
        marks = _marks(word)
        try:
            made = self._convert(word.record, topic, sum(map(header_size, marks)))
        except Exception as error:  # a key maker of the user's that can't do with this record
            kind = "summary" if word.name == headers.DROPS else f"{word.name!r}"
            self._internal_log.complain(word.name, f"no {kind} for {topic!r}: {error!r}")
            return None
        record = made.record._replace(headers=made.record.headers + marks)
        event = Event(*make_item(topic, made.key, record, made.level, made.source))
        event.loss = word.loss
        return event


def _marks(word: Word) -> tuple[Header, Header]:
    details = json.dumps(word.details, separators=(",", ":"))
    return (headers.EVENT, word.name.encode()), (headers.DETAILS, details.encode())
