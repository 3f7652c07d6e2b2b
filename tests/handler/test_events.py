"""The handler's own records: texts for people, and headers for programs."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Collection
from typing import Any

import pytest

from kiel_logging.handler.events import (
    ConvertOwn,
    Event,
    EventItem,
    Events,
    Recovered,
    drops,
    end,
    pause,
    recovery,
    start,
)
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import Loss
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item, make_item
from kiel_logging.records import Record
from kiel_logging.wire.sizes import record_size

INFO, WARNING = logging.INFO, logging.WARNING
DEAD = "0123456789abcdef0123456789abcdef"


def loss(records: int = 3, numbers: Collection[int] = ()) -> Loss:
    """So many records that found no room, or were given up with these numbers."""
    made = Loss(1.0, 2.0, numbers=set(numbers))
    made.counts["buffer_full", INFO] = records
    return made


NAMES = ("logs", DEAD, "0123456789abcdef")
TOLD = {
    "host": socket.gethostname(),
    "process": os.getpid(),
    "topic": "logs",
    "instance": DEAD,
    "key": "0123456789abcdef",
}
UNKEYED = "audit stream started by audit, without a key: anybody can compute its digests"

WORDS: dict[str, tuple[Event, dict[str, Any], str, int]] = {
    "start": (
        start("audit", *NAMES, {}),
        {"handler": "audit", **TOLD},
        "audit stream started by audit",
        INFO,
    ),
    "a start without a name": (
        start("", *NAMES, {}),
        {"handler": "", **TOLD},
        "audit stream started by a handler",
        INFO,
    ),
    "a start without a key": (
        start("audit", "logs", DEAD, "", {}),
        {"handler": "audit", **TOLD, "key": ""},
        UNKEYED,
        INFO,
    ),
    "pause": (pause({}), {}, "audit stream paused", INFO),
    "end": (end({}), {}, "audit stream ended", INFO),
    "drops": (drops(loss()), {"records": 3}, str(loss()), WARNING),
    "drops of numbered records": (
        drops(loss(numbers={4, 9, 5})),
        {"records": 3, "numbers": [[4, 5], [9, 9]]},
        str(loss()),
        WARNING,
    ),
    "recovery": (
        recovery(Recovered(DEAD, 2, 9, complete=True)),
        {"instance": DEAD, "records": 2, "last": 9, "complete": True},
        f"audit stream of {DEAD}, which died, ends with record 9; 2 of them were found on disk",
        WARNING,
    ),
    "a recovery with losses": (
        recovery(Recovered(DEAD, 2, 9, complete=False, lost={3, 4})),
        {"instance": DEAD, "records": 2, "last": 9, "complete": False, "lost": [[3, 4]]},
        f"audit stream of {DEAD}, which died, ends with record 9; 2 of them were found on disk",
        WARNING,
    ),
}


@pytest.mark.parametrize(("word", "details", "text", "level"), WORDS.values(), ids=WORDS)
def test_words(word: Event, details: dict[str, Any], text: str, level: int) -> None:
    """Each event has a text for people and details for programs."""
    record = word.record
    assert word.details == details
    assert (record.getMessage(), record.levelno, record.name) == (text, level, "kiel_logging")
    assert record.funcName == word.name
    assert (word.loss is None) == (word.name != "drops")


def events(convert: ConvertOwn, *, keyed: bool = False) -> Events:
    """A maker of events that complains on stderr."""
    return Events(convert, InternalLog(None), str, Stamper(DEAD), keyed=keyed)


@pytest.mark.parametrize(
    ("given", "keyed", "key"),
    [("k", True, "k"), (None, True, DEAD), (None, False, None)],
    ids=["a key", "the instance for none", "none"],
)
def test_an_event_is_converted_as_other_records_and_marked(
    given: str | None, keyed: bool, key: str | None
) -> None:
    """Its headers come behind those that are asked for; there is room for them, and for a key."""
    spares = []

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        spares.append(spare)
        data = None if given is None else given.encode()
        made = Record(data, record.getMessage().encode(), (("level", b"INFO"),), 9)
        return make_item(topic, given, made, record.levelno, record)

    word = drops(loss())
    event = events(convert, keyed=keyed).make(word, "logs")
    assert isinstance(event, EventItem)
    assert (event.topic, event.key, event.level, event.loss) == ("logs", key, WARNING, word.loss)
    assert event.source is word.record
    headers = (("level", b"INFO"), ("kiel-event", b"drops"), ("kiel-details", b'{"records":3}'))
    assert event.record == Record(key and key.encode(), str(loss()).encode(), headers, 9)
    assert event.size == record_size(event.record)
    bare = event.record._replace(key=given and given.encode(), headers=headers[:1])
    assert spares[0] >= event.size - record_size(bare)


def test_details_are_compact_json() -> None:
    """In ASCII, whatever the handler is called."""
    word = start("prüfung", *NAMES, {})

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        return make_item(topic, None, Record(None, b"", (), 9))

    event = events(convert).make(word, "logs")
    assert event is not None
    text = (event.record.headers[1][1] or b"").decode("ascii")
    assert json.loads(text) == word.details
    assert " " not in text


def test_the_details_of_a_start_have_a_bound() -> None:
    """Readers take details of 4 KB at most, whatever the handler is called."""
    word = start("\U0001f600" * 5_000, "x" * 249, DEAD, "0" * 16, {})

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        return make_item(topic, None, Record(None, b"", (), 9))

    event = events(convert).make(word, "logs")
    assert event is not None
    assert len(event.record.headers[1][1] or b"") < 4_000
