"""Frames to append, and what was found of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kiel_logging.journal.frames import RECORD, Damage, Frame, encode
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.stream import (
    FIRST,
    START,
    Checkpoint,
    Position,
    Stream,
)

INSTANCE: Final = "0123456789abcdef" * 2
TOPIC: Final = "logs"


def frame(value: bytes | None = b"value", **other: Any) -> Frame:
    """Return a record's frame, ordinary but for what is given."""
    ordinary: dict[str, Any] = {
        "kind": RECORD,
        "key": None,
        "data": None,
        "headers": (),
        "timestamp": 1_700_000_000_000,
        "level": 20,
    }
    return Frame(value=value, **{**ordinary, **other})


def numbered(number: int) -> Frame:
    """Return a record's frame that is known by its value."""
    return frame(b"record %d" % number)


def values(entries: list[Frame | Damage]) -> list[bytes | None]:
    """Return the values of frames; ``b"?"`` for a damage."""
    return [b"?" if isinstance(entry, Damage) else entry.value for entry in entries]


def append(stream: LocalStream, *frames: bytes) -> int:
    """Append frames and return the number for ``sync()``; raise what the disk has against it."""
    appended = stream.append(*frames)
    if appended.error is not None:
        raise appended.error
    return appended.number


def fill(stream: LocalStream, *numbers: int) -> None:
    """Append a record for each number."""
    for number in numbers:
        append(stream, encode(numbered(number), stream.seed))


def numbers(stream: Stream, position: Position = START, *, ended: bool = True) -> list[int]:
    """Return the numbers of all records behind a position."""
    found = []
    while (run := stream.read(position, ended=ended)).entries:
        found += [int(str(value, "ascii").split()[1]) for value in values(run.entries) if value]
        position = run.position
    return found


def read_all(stream: Stream) -> Checkpoint:
    """Return the checkpoint behind all that is there, if each entry takes a number."""
    first = stream.checkpoint or FIRST
    sequence, position = first.sequence, first.position
    while (run := stream.read(position, ended=True)).entries:
        sequence, position = sequence + len(run.entries), run.position
    return Checkpoint(*position, sequence, sequence.to_bytes(32, "big"))


def loaded(stream: Stream) -> Stream:
    """Return the stream as another process finds it."""
    found = Stream(stream.path, stream.instance)
    found.load()
    return found


@contextmanager
def program(code: str, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code, which begins behind the imports below, until the block ends."""
    switches = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
    with subprocess.Popen(
        [*prefix, sys.executable, *switches, "-c", _IMPORTS + code],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def output(code: str, *prefix: str) -> Any:
    """Return what Python code prints, which is one line of JSON."""
    with program(code, *prefix) as running:
        out, _ = running.communicate()
    assert running.returncode == 0
    return json.loads(out)


def said(running: subprocess.Popen[str]) -> str:
    """Wait for a line of a program's."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


_IMPORTS: Final = """
import json, os, signal, sys, threading, time
from pathlib import Path
from kiel_logging.errors import *
from kiel_logging.journal.directory import *
from kiel_logging.journal.stream import *
from tests.journal.sample import *
"""
