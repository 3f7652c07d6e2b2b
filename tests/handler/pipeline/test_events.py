"""What the handler itself says: in words for people, and in headers for programs."""

from __future__ import annotations

import json
import logging
import os
import socket
from typing import Any

import pytest

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.events import (
    ConvertOwn,
    Event,
    Events,
    Word,
    drops,
    end,
    recovery,
    start,
)
from kiel_logging.handler.pipeline.item import Item, make_item
from kiel_logging.handler.pipeline.losses import Loss
from kiel_logging.records import Record
from kiel_logging.wire.sizes import record_size

INFO, WARNING = logging.INFO, logging.WARNING
DEAD = "0123456789abcdef0123456789abcdef"


def loss(records: int = 3) -> Loss:
    """So many records that found no room."""
    made = Loss(1.0, 2.0)
    made.counts["buffer_full", INFO] = records
    return made


WORDS: dict[str, tuple[Word, dict[str, Any], str, int]] = {
    "start": (
        start("audit"),
        {"handler": "audit", "host": socket.gethostname(), "process": os.getpid()},
        "audit stream started by audit",
        INFO,
    ),
    "a start without a name": (
        start(""),
        {"handler": "", "host": socket.gethostname(), "process": os.getpid()},
        "audit stream started by a handler",
        INFO,
    ),
    "end": (end(7), {"records": 7}, "audit stream ended with record 7", INFO),
    "drops": (drops(loss()), {"records": 3}, str(loss()), WARNING),
    "recovery": (
        recovery(DEAD, 2, 9),
        {"instance": DEAD, "records": 2, "last": 9},
        f"audit stream of {DEAD}, which died, ends with record 9; 2 of them were found on disk",
        WARNING,
    ),
}


@pytest.mark.parametrize(("word", "details", "text", "level"), WORDS.values(), ids=WORDS)
def test_words(word: Word, details: dict[str, Any], text: str, level: int) -> None:
    """What each says, and to whom."""
    record = word.record
    assert word.details == details
    assert (record.getMessage(), record.levelno, record.name) == (text, level, "kiel_logging")
    assert record.funcName in (word.name, "summary_record")
    assert (word.loss is None) == (word.name != "drops")


def events(convert: ConvertOwn) -> Events:
    """A maker of events that complains on stderr."""
    return Events(convert, InternalLog(None))


def test_an_event_is_converted_as_other_records_and_marked() -> None:
    """Its headers come behind those that are asked for; there is room for them."""
    spares = []

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        spares.append(spare)
        made = Record(b"k", record.getMessage().encode(), (("level", b"INFO"),), 9)
        return make_item(topic, "k", made, record.levelno, record)

    word = drops(loss())
    event = events(convert).make(word, "logs")
    assert isinstance(event, Event)
    assert (event.topic, event.key, event.level, event.loss) == ("logs", "k", WARNING, word.loss)
    assert event.source is word.record
    headers = (("level", b"INFO"), ("kiel-event", b"drops"), ("kiel-details", b'{"records":3}'))
    assert event.record == Record(b"k", str(loss()).encode(), headers, 9)
    assert event.size == record_size(event.record)
    bare = event.record._replace(headers=headers[:1])
    assert spares == [event.size - record_size(bare)]


@pytest.mark.parametrize(
    ("word", "what"), [(drops(loss()), "no summary"), (end(3), "no 'end'")], ids=["drops", "end"]
)
def test_one_that_can_not_be_made_is_told(
    word: Word, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever of the user's raised; it is not there then."""

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        raise KeyError("user")

    assert events(convert).make(word, "logs") is None
    assert f"{what} for 'logs': KeyError('user')" in capsys.readouterr().err


def test_details_are_compact_json() -> None:
    """In ASCII, whatever the handler is called."""
    word = start("prüfung")

    def convert(record: logging.LogRecord, topic: str, spare: int) -> Item:
        return make_item(topic, None, Record(None, b"", (), 9))

    event = events(convert).make(word, "logs")
    assert event is not None
    text = (event.record.headers[1][1] or b"").decode("ascii")
    assert json.loads(text) == word.details
    assert " " not in text
