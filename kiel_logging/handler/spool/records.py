"""Between the handler's items and the journal's frames. Pure.

A spooled record stores a number that identifies its waiter, because the waiter itself cannot be
stored; ``Waiters`` knows which is which as long as this process lives.

Frames that hold a QuickItem and nothing else are packed and read in C, all others in Python.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kiel_logging.handler.events import EventItem
from kiel_logging.journal import frames
from kiel_logging.journal.frames import EVENT, RECORD, STATE, Frame, Scan
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.proof import headers
from kiel_logging.proof.chain import DIGEST_SIZE, FIRST, SEALED_BY_SHIPPER, Keyring
from kiel_logging.proof.stamper import State
from kiel_logging.record.item import Item, Waiter, make_item
from kiel_logging.records import Record

try:
    from kiel_logging._accelerator import pack_frame as _pack_in_c
    from kiel_logging._accelerator import scan_items as _scan_in_c
except ImportError:  # there was no C compiler
    IN_C = False
else:
    IN_C = True

_LEVELS: Final = range(-(2**31), 2**31)


CHAIN: Final = "chain"
"""Which chain a writer's records are to be in, in what its journal says about it."""

ROTATED: Final = "rotated"
"""And the ids of the keys that its streams changed to later, in order."""

NO_CHAIN: Final = "none"
WITHOUT_KEY: Final = "without a key"
_ALWAYS: Final = "always"
BOOT: Final = "boot"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def end_facts(*, always: bool) -> dict[str, object]:
    """Return what a journal says so that others can see whether it has the end of each stream: if
    every record was appended, and which run of the kernel has what the disk may not have."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return {_ALWAYS: always, BOOT: boot}


def chain_id(keyring: Keyring | None) -> str:
    """Return what a journal says of its records' chain: which key it has, and not the key."""
    return NO_CHAIN if keyring is None else keyring.current.key_id or WITHOUT_KEY


_KEY: Final = b'"key":"%s"'
_KEY_OF_SHIPPER: Final = _KEY % SEALED_BY_SHIPPER.key_id.encode()
"""In the details of the record that starts a chain."""


class Waiters:
    """The receipts that wait for spooled records, by number; 0 stands for none.

    Attributes:
        on_disk: whether every record is on disk before its logging call returns.
        refused: topics that the brokers reject for now, and why.
    """

    def __init__(self, *, on_disk: bool) -> None:
        self.on_disk = on_disk
        self.refused: dict[str, Exception] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, Waiter]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> int:
        """Return the number of the waiter of ``item``."""
        if item.waiter is None:
            return 0
        if (error := self.refused.get(item.topic)) is not None:
            item.waiter.held(error, on_disk=self.on_disk)
        number = next(self._numbers)
        self._waiting[number] = (item.topic, item.waiter)
        return number

    def find(self, number: int) -> Waiter | None:
        """Return the waiter with ``number``; it may be read from disk again."""
        found = self._waiting.get(number)
        return None if found is None else found[1]

    def of_topic(self, topic: str) -> list[Waiter]:
        """Return the waiters of all records of ``topic``, and forget those whose end is known."""
        for number, (_, waiter) in list(self._waiting.items()):
            if waiter.outcome is not None:
                self._waiting.pop(number, None)
        return [waiter for each, waiter in list(self._waiting.values()) if each == topic]

    def forget_ended(self, items: Sequence[Item]) -> None:
        """Forget the waiters of ``items``, which were settled."""
        if self._waiting and any(item.waiter is not None for item in items):
            self.of_topic("")


def frame_of(item: Item, waiter: int = 0, state: State | None = None) -> Frame:
    """Return what the journal stores of ``item``; with ``state`` it is numbered already."""
    key, value, record_headers, timestamp = item.record
    return Frame(
        kind=EVENT if isinstance(item, EventItem) else RECORD,
        key=item.key,
        data=key,
        value=value,
        headers=record_headers,
        timestamp=timestamp,
        level=item.level if item.level in _LEVELS else 0,
        waiter=waiter,
        sequence=0 if state is None else state.sequence,
        digest=b"" if state is None else state.digest,
    )


def state_frame(state: State) -> Frame:
    """Return the frame that has numbers continue behind ``state``."""
    return Frame(
        kind=STATE,
        key=None,
        data=None,
        value=state.key_id.encode(),
        headers=(),
        timestamp=0,
        level=0,
        waiter=0,
        sequence=state.sequence,
        digest=state.digest,
    )


def state_of(item: Item) -> State:
    """Return the number of ``item``, and its digest in a chain, from its headers."""
    found = dict(item.record.headers[-3:])
    link = found.get(headers.CHAIN)
    return State(int(found[headers.SEQUENCE] or 0), link[-DIGEST_SIZE:] if link else FIRST)


def item_of(
    frame: Frame, topic: str, find: Callable[[int], Waiter | None], key_id: str | None = None
) -> Item:
    """Return the item that ``frame`` was made of, as far as it was stored.

    The record that starts a chain names the key, ``key_id``, where its writer left that to the
    process that ships.
    """
    frame_headers = frame.headers
    if key_id is not None and _is_event(frame, headers.START):
        frame_headers = tuple(
            (name, value and value.replace(_KEY_OF_SHIPPER, _KEY % key_id.encode()))
            if name == headers.DETAILS
            else (name, value)
            for name, value in frame_headers
        )
    record = Record(frame.data, frame.value, frame_headers, frame.timestamp)
    item = make_item(topic, frame.key, record, frame.level)
    if frame.kind == EVENT:
        event = EventItem(*item)
        event.loss = None
        return event
    if frame.waiter and (waiter := find(frame.waiter)) is not None:
        return item._replace(waiter=waiter, memory=item.memory + waiter.memory)
    return item


def is_end(frame: Frame) -> bool:
    """Whether ``frame`` is the record that ends a stream."""
    return _is_event(frame, headers.END)


def names_its_instance(frame: Frame) -> bool:
    """Whether ``frame`` is a record that makes sense under the instance that wrote it alone."""
    names = (headers.START, headers.ROTATION, headers.PAUSE, headers.END)
    return any(_is_event(frame, name) for name in names)


def _is_event(frame: Frame, name: str) -> bool:
    return frame.kind == EVENT and (headers.EVENT, name.encode()) in frame.headers


def frame_bytes(item: Item, waiter: int, seed: int) -> bytes:
    """Return the frame of ``item``, which is not numbered yet, as bytes.

    Raises:
        SpoolError: it is too large for a frame.
    """
    packed = _pack_in_c(item, waiter, seed) if IN_C else None
    return frames.encode(frame_of(item, waiter), seed) if packed is None else packed


def first_frame(files: LocalStream, start: Callable[[str], Item | None]) -> tuple[bytes, ...]:
    """Return the frame of the record that starts a stream, if nothing was appended to it yet and
    ``start`` makes one for its topic."""
    item = start(files.topic) if files.is_new else None
    return () if item is None else (frames.encode(frame_of(item), files.seed),)


def scan_items(block: bytes, seed: int, *, ended: bool, most: int, topic: str | None) -> Scan:
    """Return what ``frames.scan()`` returns, with items in place of as many frames as possible.

    C reads up to the first frame that is damaged, or holds more than a QuickItem does. Python reads
    that one, and C continues behind it. Each step starts where a frame starts, and ``scan()``
    carries nothing from one frame to the next, so the steps find what one scan would find.

    Args:
        block: starts where a frame starts.
        seed: of the stream.
        ended: whether nothing will follow the block.
        most: entries to return, at least 1.
        topic: of the items; None to return frames.
    """
    entries: list[Any] = []
    ends: list[int] = []
    at, foreign, step = 0, None, most if topic is None or not IN_C else 1
    while len(entries) < most:
        if topic is not None and IN_C:
            items, behind, at = _scan_in_c(block, at, most - len(entries), seed, topic)
            entries += items
            ends += behind
        wanted = min(step, most - len(entries))
        rest = frames.scan(block, seed, ended=ended, at=at, most=wanted)
        entries += rest.entries
        ends += rest.ends
        at, foreign = rest.size, rest.foreign
        if not rest.entries:
            break
    if len(entries) > most:  # there was damage in front of a frame
        return Scan(entries[:most], ends[:most], ends[most - 1])
    return Scan(entries, ends, at, foreign)
