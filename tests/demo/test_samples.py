"""The records that the demo shows: as they are, on a terminal that they can't control."""

from __future__ import annotations

import io
import json

from rich.console import Console

from kiel_logging.demo.samples import _panel
from kiel_logging.demo.tally import Arrival
from kiel_logging.records import TopicPartition

EVIL = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m"


def shown(key: bytes | None, **fields: object) -> str:
    """Return the text that a terminal gets of one record."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    value = json.dumps(fields).encode()
    console.print(_panel(Arrival(TopicPartition("app", 0), 7, key, value, 0.0)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_record_is_shown_whole() -> None:
    """A traceback with its lines."""
    text = shown(b"key-1", message="grüße", error={"type": "E", "trace": "Traceback:\n  line 1"})
    for part in ("app[0] offset 7, key key-1", "message", "grüße", "Traceback:", "  line 1"):
        assert part in text


def test_a_record_can_not_control_the_terminal() -> None:
    """By its key, the names of its fields, or what is in them."""
    text = shown(
        EVIL.encode(), **{EVIL: EVIL, "list": [EVIL], "nested": {EVIL: EVIL, "lines": f"\n{EVIL}"}}
    )
    assert "\x1b]0;title" not in text
    assert "\x1b[2J" not in text
    assert not {"\u202e", "\x9b", "\x07"} & set(text)
    assert r"\x1b]0;title\x07" in text
