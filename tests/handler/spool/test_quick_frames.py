"""Frames of items that C packs and reads: the same bytes and the same items as in Python."""

from __future__ import annotations

import logging
import struct
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.handler.spool import records
from kiel_logging.handler.spool.records import (
    frame_bytes,
    frame_of,
    item_of,
    scan_items,
)
from kiel_logging.journal import frames
from kiel_logging.journal.frames import (
    EVENT,
    MAGIC,
    RECORD,
    SMALLEST,
    STATE,
    Damage,
    Frame,
    Scan,
    encode,
)
from kiel_logging.proof.stamper import stamp
from kiel_logging.record.item import Item
from tests.record.fast import needs_c, quick_item
from tests.record.test_conversion import record

SEED = frames.seed("0123456789abcdef" * 2, "logs")
ALL = 1_000_000
STUFFED = MAGIC[:3]

PLAIN = Frame(RECORD, None, None, b'{"message":"x"}', (), 1_700_000_000_000, 20)


def sealed(body: bytes, length: int | None = None) -> bytes:
    """Return a frame with a good checksum, whatever its body is."""
    header = struct.pack(">I", len(body) if length is None else length)
    return MAGIC + header + struct.pack(">I", crc32c(body, crc32c(header, SEED))) + body


def as_item(entry: Any) -> Any:
    """Return an entry as what the shipper makes of it: an Item, or a Damage."""
    if isinstance(entry, Damage):
        return entry
    return item_of(entry, "logs", lambda _: None) if isinstance(entry, Frame) else entry.plain()


def as_items(scan: Scan) -> Scan:
    """Return the scan with entries that can be compared, whichever way they were read."""
    return scan._replace(entries=[as_item(entry) for entry in scan.entries])


def is_quick(entry: object) -> bool:
    """Whether C has made it."""
    return type(entry).__name__ == "QuickItem"


# -- strategies -----------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=8)  # with lone surrogates
numbers = st.integers(-(2**70), 2**70)
contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", STUFFED, MAGIC, STUFFED + b"\0", b"K" * 9, b"KJ", encode(PLAIN, SEED)]),
    st.lists(st.sampled_from([b"K", b"J", b"\1", b"\xc5", b"\0", b"x"]), max_size=12).map(b"".join),
)
keys = st.one_of(
    st.just((None, None)),
    contents.map(lambda data: (data, data)),
    texts.map(lambda text: (text, text.encode("utf-8", "surrogatepass"))),
    numbers.map(lambda number: (number, b"%d" % number)),
    st.tuples(texts, contents),  # of a serializer of the program's
)


@st.composite
def any_frames(draw: st.DrawFn) -> Frame:
    """Return a frame that is plain, or in which one or the other is not."""
    key, data = draw(keys)
    made = PLAIN._replace(
        key=key,
        data=data,
        value=draw(st.none() | contents),
        timestamp=draw(st.integers(-(2**63), 2**63 - 1)),
        level=draw(st.integers(-(2**31), 2**31 - 1)),
    )
    odd: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.sampled_from([EVENT, STATE]),
        "waiter": st.integers(1, 2**64 - 1),
        "sequence": st.integers(1, 2**64 - 1),
        "digest": st.binary(min_size=32, max_size=32),
        "headers": st.lists(st.tuples(texts, st.none() | contents), min_size=1, max_size=2).map(
            tuple
        ),
    }
    names = draw(st.sets(st.sampled_from(sorted(odd)), max_size=1 if draw(st.booleans()) else 0))
    return made._replace(**{name: draw(odd[name]) for name in names})


def changed(block: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return the bytes with some of them set to others."""
    made = bytearray(block)
    for place, byte in changes:
        if made:
            made[place % len(made)] = byte
    return bytes(made)


changes = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)
encoded = any_frames().map(lambda frame: encode(frame, SEED))
pieces = st.one_of(
    encoded,
    encoded,
    encoded,
    any_frames().map(lambda frame: encode(frame, SEED + 1)),  # of another stream
    st.builds(lambda frame, flips: sealed(changed(frame[12:], flips)), encoded, changes),
    st.builds(lambda frame, length: sealed(frame[12:], length), encoded, st.integers(0, 2**32 - 1)),
    encoded.map(lambda frame: sealed(frame[12:].replace(STUFFED + b"\0", STUFFED))),
    st.builds(lambda frame, size: frame[:size], encoded, st.integers(0, 100)),  # torn
    st.builds(lambda length: MAGIC + struct.pack(">I", length), st.integers(0, 2**32 - 1)),
    st.just(b"KJ\2\xc5 of another release"),
    st.binary(max_size=80),
)
blocks = st.builds(
    lambda parts, flips, end: changed(b"".join(parts), flips)[:end],
    st.lists(pieces, max_size=8),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=2),
    st.none() | st.integers(0, 2_000),
)


# -- reading --------------------------------------------------------------------------------------


@given(blocks, st.booleans())
@example(encode(PLAIN, SEED) + sealed(b"\1\1" + bytes(41)), True)
@example(encode(PLAIN._replace(value=MAGIC + b"x" * 60), SEED), True)
def test_c_and_python_read_what_python_alone_reads(block: bytes, ended: bool) -> None:
    """The same items, damage, ends and size, whatever the bytes are."""
    found = scan_items(block, SEED, ended=ended, most=ALL, topic="logs")
    assert as_items(found) == as_items(frames.scan(block, SEED, ended=ended))


@given(blocks, st.booleans(), st.integers(1, 4), st.booleans())
@example(encode(PLAIN, SEED)[:-1] + b"?" + encode(PLAIN, SEED), True, 1, True)
def test_reading_a_few_at_a_time_finds_the_same(
    block: bytes, ended: bool, most: int, in_c: bool
) -> None:
    """No call returns more than it is asked for, and the next one begins where it ended."""
    whole = as_items(frames.scan(block, SEED, ended=ended))
    entries: list[Any] = []
    ends: list[int] = []
    at = 0
    while True:
        topic = "logs" if in_c else None
        found = scan_items(block[at:], SEED, ended=ended, most=most, topic=topic)
        assert len(found.entries) == len(found.ends) <= most
        entries += as_items(found).entries
        ends += [at + end for end in found.ends]
        at += found.size
        if not found.entries:
            break
    assert Scan(entries, ends, at, found.foreign) == whole


@needs_c
@pytest.mark.parametrize(
    "frame",
    [
        PLAIN,
        PLAIN._replace(value=None),
        PLAIN._replace(value=b""),
        PLAIN._replace(key=b"\0k", data=b"\0k"),
        PLAIN._replace(key="ключ", data="ключ".encode()),
        PLAIN._replace(key="", data=b""),
        *[PLAIN._replace(key=one, data=b"%d" % one) for one in (0, 7, -1, 2**63 - 1, -(2**63))],
        PLAIN._replace(timestamp=0, level=-(2**31)),
        PLAIN._replace(timestamp=2**63 - 1, level=2**31 - 1),
        PLAIN._replace(value=b"KJ\0KKJKJ\2" * 9),
        PLAIN._replace(value=b"v" * 300_000),
        PLAIN._replace(headers=(("level", b"INFO"), ("", b""), ("none", None), ("level", b"\xff"))),
    ],
    ids=repr,
)
def test_plain_frames_are_read_in_c(frame: Frame) -> None:
    """All that an item of C's can hold, with the size and the memory that make_item() computes."""
    block = encode(frame, SEED) * 2
    found = scan_items(block, SEED, ended=False, most=ALL, topic="logs")
    assert [is_quick(entry) for entry in found.entries] == [True, True]
    for entry in found.entries:
        item = item_of(frame, "logs", lambda _: None)
        assert [getattr(entry, name) for name in Item._fields] == list(item)
        assert type(entry.key) is type(item.key)
        assert entry.number == 0
    assert found.size == len(block)


def with_key(kind: int, data: bytes) -> bytes:
    """Return a frame with a key of that kind, whether there is such a key or not."""
    body = encode(PLAIN._replace(key=data, data=data), SEED)[12:]
    return sealed(changed(body, [(1, kind)]))


BODY = encode(PLAIN, SEED)[12:]


@needs_c
@pytest.mark.parametrize(
    "block",
    [
        *[
            encode(PLAIN._replace(**{name: value}), SEED)
            for name, value in {
                "kind": EVENT,
                "value": b"KJ\1",
                "headers": (("é", None),),
                "timestamp": -1,
                "waiter": 1,
                "sequence": 1,
                "digest": bytes(32),
            }.items()
        ],
        *[with_key(0, data) for data in (b"", b"7")],
        *[with_key(2, data) for data in (b"\xff", "\ud800".encode("utf-8", "surrogatepass"))],
        *[with_key(3, data) for data in (b"+7", b" 7", b"07", b"-0", b"", b"x", b"%d" % 2**63)],
        *[with_key(kind, b"7") for kind in (4, 255)],
        # Good checksums do not make sense of these, or stand for another thing than they seem to.
        *[sealed(BODY.replace(b"mess", inside)) for inside in (MAGIC, b"KJ\1\0", b"KJ\1x")],
        *[sealed(changed(BODY, list(enumerate(b"KJ\1", first)))) for first in (4, 8, 12)],
        *[sealed(changed(BODY, [(2, size)])) for size in (1, 4, 32)],
        *[sealed(BODY[:-4] + count) for count in (b"\0\0\0\1", b"\xff" * 4)],
        *[sealed(BODY + bytes(size)) for size in (1, 4, 8)],
        *[
            sealed(BODY[:at] + struct.pack(">i", size) + BODY[at + 4 :])
            for at in (31, 35)  # the sizes of key and value
            for size in (-(2**31), -2, 14, 16, 1_000, 2**31 - 1)
        ],
        *[
            sealed(BODY[:-1] + b"\1" + struct.pack(">ii", *sizes) + b"name: some content")
            for sizes in ((-1, 19), (17, 2), (18, 1), (17, 0), (19, -1), (18, -2), (2**31 - 1, 1))
        ],
        sealed(BODY[:-1]),
        sealed(BODY, len(BODY) - 1),
        b"?" + encode(PLAIN, SEED)[1:],
        encode(PLAIN, SEED + 1),
        encode(PLAIN, SEED)[:-1],
    ],
    ids=repr,
)
def test_all_other_frames_are_left_to_python(block: bytes) -> None:
    """C stops in front of them; Python makes of them what it always does."""
    plain = encode(PLAIN, SEED)
    found = scan_items(plain + block, SEED, ended=False, most=ALL, topic="logs")
    assert [is_quick(entry) for entry in found.entries[:2]] == [True, False][: len(found.entries)]
    assert as_items(found) == as_items(frames.scan(plain + block, SEED, ended=False))


@needs_c
def test_c_goes_on_behind_an_odd_frame() -> None:
    """One that is numbered, or damaged, leaves only itself to Python."""
    plain, odd = encode(PLAIN, SEED), encode(PLAIN._replace(sequence=7), SEED)
    damaged = odd[:-1] + b"?"
    block = plain + odd + plain + damaged + plain + plain
    found = scan_items(block, SEED, ended=False, most=ALL, topic="logs")
    assert [is_quick(entry) for entry in found.entries] == [True, False, True, False, False, True]
    assert found.size == len(block)


@needs_c
def test_items_of_frames_are_numbered_as_others() -> None:
    """Their number can be seen, and is in their headers."""
    found = scan_items(encode(PLAIN, SEED), SEED, ended=True, most=1, topic="logs")
    instance, item = ("instance", b"a"), item_of(PLAIN, "logs", lambda _: None)
    sequences = {"logs": 6}
    [quick] = stamp(found.entries, instance, "sequence", dict(sequences))
    assert quick.number == 7
    assert quick.plain() == stamp([item], instance, "sequence", sequences)[0]


def test_without_c_all_is_done_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same items and bytes, from the same functions."""
    monkeypatch.setattr(records, "IN_C", False)
    item = item_of(PLAIN, "logs", lambda _: None)
    block = frame_bytes(item, 0, SEED)
    assert block == encode(PLAIN, SEED)
    found = scan_items(block * 3, SEED, ended=False, most=2, topic="logs")
    assert found == Scan([PLAIN, PLAIN], [len(block), 2 * len(block)], 2 * len(block))


# -- packing --------------------------------------------------------------------------------------


log_records = st.builds(
    record,
    msg=st.text(max_size=20),
    args=st.just(()),
    created=st.floats(0, 2e9),
    levelno=st.integers(-(2**33), 2**33) | st.sampled_from([-(2**31) - 1, -(2**31), 2**31]),
    user=st.one_of(
        st.none(),
        st.text(max_size=8),
        st.text(st.sampled_from("KJ\1x"), max_size=8),
        st.integers(-(2**63), 2**63 - 1),
    ),
)


@needs_c
@given(log_records, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
@example(record(user="KJ\1"), 1, SEED)
@example(record(levelno=2**31), 1, SEED)
def test_c_packs_what_python_encodes(made: logging.LogRecord, waiter: int, seed: int) -> None:
    """To the byte; or nothing, where a body is stuffed or a level has no room."""
    from kiel_logging._accelerator import pack_frame

    item = quick_item(made, key_field="user", headers={"user": "user", "level": "level"})
    expected = encode(frame_of(item, waiter), seed)
    packed = pack_frame(item, waiter, seed)
    is_plain = STUFFED not in expected[12:] and -(2**31) <= item.level < 2**31
    assert packed == (expected if is_plain else None)
    assert frame_bytes(item, waiter, seed) == expected


@needs_c
@given(any_frames().filter(lambda frame: frame.kind != STATE))
def test_an_item_that_was_read_is_packed_as_it_was(frame: Frame) -> None:
    """Whatever C reads it can write again."""
    block = encode(frame, SEED)
    [entry] = scan_items(block, SEED, ended=True, most=1, topic="logs").entries
    if is_quick(entry):
        assert frame_bytes(entry, 0, SEED) == block


@needs_c
def test_other_items_are_encoded_in_python() -> None:
    """Those with a number, and those that are no item of C's."""
    from kiel_logging._accelerator import pack_frame

    [quick] = scan_items(encode(PLAIN, SEED), SEED, ended=True, most=1, topic="logs").entries
    item = quick.plain()
    stamp([quick], ("instance", b"a"), "sequence", {})
    for other in (item, quick):
        assert pack_frame(other, 3, SEED) is None
        assert frame_bytes(other, 3, SEED) == encode(frame_of(other, 3), SEED)


@needs_c
@pytest.mark.parametrize("size", [*range(20), 63, 64, 65, 1_000, 1_000_003])
def test_checksums_of_all_sizes(size: int) -> None:
    """They are those of the package crc32c, by whatever the processor has for them."""
    block = encode(PLAIN._replace(value=bytes(2 + index * 7 % 251 for index in range(size))), SEED)
    [entry] = scan_items(block, SEED, ended=True, most=1, topic="logs").entries
    assert is_quick(entry)
    assert frame_bytes(entry, 0, SEED) == block


def test_the_smallest_frame() -> None:
    """A frame without key and value is read as well."""
    block = encode(PLAIN._replace(value=None), SEED)
    assert len(block) == SMALLEST
    found = scan_items(block, SEED, ended=True, most=1, topic="logs")
    assert as_items(found) == as_items(frames.scan(block, SEED, ended=True))
