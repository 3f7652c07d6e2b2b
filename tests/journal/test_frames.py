"""Frames: all that was appended is read, and nothing else, whatever became of the bytes."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import SpoolError
from kiel_logging.journal import frames
from kiel_logging.journal.frames import (
    EVENT,
    MAGIC,
    MAX_BODY,
    RECORD,
    SMALLEST,
    STATE,
    Damage,
    Frame,
    Scan,
    encode,
    scan,
    seed,
)
from tests.journal.sample import INSTANCE, TOPIC, frame, numbered, values
from tests.support.examples import examples

SEED = seed(INSTANCE, TOPIC)
HEADER = struct.Struct(">4sII")


def entries(block: bytes, *, ended: bool = True) -> list[Frame | Damage]:
    """Return what is read of a block."""
    return scan(block, SEED, ended=ended).entries


def resealed(body: bytes, length: int | None = None) -> bytes:
    """Return a frame whose checksum is good, whatever its body is."""
    size = (len(body) if length is None else length).to_bytes(4, "big")
    return MAGIC + size + crc32c(body, crc32c(size, SEED)).to_bytes(4, "big") + body


# -- whole frames ---------------------------------------------------------------------------------

WHOLE = {
    "a record": frame(),
    "an event": frame(kind=EVENT),
    "a state": frame(None, kind=STATE, sequence=7, digest=bytes(range(32))),
    "the smallest": frame(None),
    "a tombstone": frame(None, key="k", data=b"k"),
    "an empty value": frame(b""),
    "an empty key": frame(key="", data=b""),
    "a key of bytes": frame(key=b"k", data=b"k"),
    "a key of text": frame(key="käse", data="käse".encode()),
    "a key with a lone surrogate": frame(key="\ud800", data=b"\xed\xa0\x80"),
    "a key that is a number": frame(key=-12, data=b"-12"),
    "headers": frame(headers=(("a", b"1"), ("a", None), ("", b""), ("ü", b"2"))),
    "a header with a lone surrogate": frame(headers=(("\udcff", b"1"),)),
    "a level below zero": frame(level=-5),
    "the extremes": frame(timestamp=2**63 - 1, level=2**31 - 1, waiter=2**64 - 1),
    "numbered, with a digest": frame(sequence=3, digest=b"\xff" * 32),
    "a magic in the value": frame(MAGIC),
    "much like a magic": frame(MAGIC[:3] + b"\0" + MAGIC[:3] + MAGIC),
    "a magic across two fields": frame(MAGIC[2:], key=MAGIC[:2], data=MAGIC[:2]),
    "another frame in the value": frame(encode(numbered(1), SEED) * 2),
}  # fmt: skip


@pytest.mark.parametrize("one", WHOLE.values(), ids=WHOLE)
def test_a_frame_is_read_as_it_was_written(one: Frame) -> None:
    """Each field of each kind comes back, alone or among others."""
    written = encode(one, SEED)
    assert scan(written * 2, SEED, ended=False) == Scan(
        [one, one], [len(written), 2 * len(written)], 2 * len(written)
    )


PARTS_OF_MAGIC = st.lists(st.sampled_from([MAGIC, b"K", b"J", b"\1", b"\0"])).map(b"".join)
FRAMES = st.builds(
    frame,
    value=st.none() | st.binary() | PARTS_OF_MAGIC,
    kind=st.sampled_from([RECORD, EVENT, STATE]),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple),
    timestamp=st.integers(0, 2**63 - 1),
    level=st.integers(-(2**31), 2**31 - 1),
    waiter=st.integers(0, 2**64 - 1),
    sequence=st.integers(0, 2**64 - 1),
    digest=st.just(b"") | st.binary(min_size=32, max_size=32),
)


@given(st.lists(FRAMES))
@examples(200)
def test_any_frames_are_read_as_they_were_written(several: list[Frame]) -> None:
    """In their order, and a magic is never within one."""
    block = b"".join(encode(one, SEED) for one in several)
    assert entries(block, ended=False) == several
    assert block.count(MAGIC) == len(several)


def test_a_key_of_another_type_is_stored_as_its_bytes() -> None:
    """A partitioner gets bytes where its key can't be made again."""
    (one,) = entries(encode(frame(key=True, data=b"1"), SEED))
    assert one == frame(key=b"1", data=b"1")


def test_a_level_that_does_not_fit_is_stored_as_zero() -> None:
    """Levels are for the ledger, and no reason to lose a record."""
    assert entries(encode(frame(level=2**31), SEED)) == [frame(level=0)]


def test_a_frame_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be read again; the error says what to do."""
    monkeypatch.setattr(frames, "MAX_BODY", 1000)
    with pytest.raises(SpoolError, match="can't be spooled: log less at a time"):
        encode(frame(bytes(1000)), SEED)


# -- frames that are not the stream's -------------------------------------------------------------


@pytest.mark.parametrize(("instance", "topic"), [(INSTANCE, "other"), ("f" * 32, TOPIC)])
def test_a_frame_of_another_stream_is_damage(instance: str, topic: str) -> None:
    """A block that the file system mixed up is not taken for the stream's own."""
    assert values(entries(encode(frame(), seed(instance, topic)))) == [b"?"]


@pytest.mark.parametrize("flip", range(8))
def test_frames_in_a_damaged_record_are_not_read(flip: int) -> None:
    """Not even where the frame around them can't be read: a program may log what it finds."""
    inner = encode(numbered(1), SEED)
    around = bytearray(encode(frame(inner * 3), SEED))
    around[-1] ^= 1 << flip
    assert values(entries(bytes(around) + inner)) == [b"?", b"record 1"]


@pytest.mark.parametrize("before", [b"", encode(numbered(1), SEED)], ids=["alone", "behind one"])
def test_a_frame_of_another_format_is_told(before: bytes) -> None:
    """And all of it is left where it is."""
    other = MAGIC[:2] + b"\7" + encode(numbered(2), seed("f" * 32, TOPIC))[3:]
    found = scan(before + other, SEED, ended=True)
    assert (found.foreign, found.size, len(found.entries)) == (7, len(before), len(before) and 1)


# -- damage ---------------------------------------------------------------------------------------

THREE = [encode(numbered(number), SEED) for number in (1, 2, 3)]


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("place", range(len(THREE[1])))
def test_a_flipped_bit_costs_one_record_at_most(place: int, ended: bool) -> None:
    """And its neighbours keep their numbers, for the damage is counted in its place."""
    for bit in range(8):
        hit = bytearray(THREE[1])
        hit[place] ^= 1 << bit
        found = scan(THREE[0] + hit + THREE[2], SEED, ended=ended)
        assert values(found.entries) in (
            [b"record 1", b"record 2", b"record 3"],
            [b"record 1", b"?", b"record 3"],
        )
        assert found.ends == list(itertools.accumulate(map(len, THREE)))


@pytest.mark.parametrize("place", range(len(THREE[1])))
def test_a_flipped_bit_in_the_last_frame(place: int) -> None:
    """Is damage once the stream has ended; until then more may follow."""
    for bit in range(8):
        hit = bytearray(THREE[1])
        hit[place] ^= 1 << bit
        block = THREE[0] + bytes(hit)
        assert values(entries(block)) in ([b"record 1", b"record 2"], [b"record 1", b"?"])
        assert values(entries(block, ended=False)) in ([b"record 1", b"record 2"], [b"record 1"])


def test_each_damaged_neighbour_takes_a_number() -> None:
    """A bad sector hits several frames; those behind keep their numbers."""
    bad = [one[:-1] + b"?" for one in THREE]
    found = scan(THREE[0] + b"".join(bad) + THREE[2], SEED, ended=False)
    assert values(found.entries) == [b"record 1", b"?", b"?", b"?", b"record 3"]
    assert found.entries[1:4] == [Damage(len(one)) for one in bad]


@pytest.mark.parametrize(
    ("size", "expected"), [(SMALLEST - 1, []), (SMALLEST, [b"?"]), (10_000, [b"?"])]
)
def test_bytes_that_are_no_frame(size: int, expected: list[bytes]) -> None:
    """Are counted as one record, if one fits into them."""
    found = entries(bytes(size) + THREE[2])
    assert values(found) == [*expected, b"record 3"]


# -- torn writes ----------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_checksums_are_crc_32c(data: bytes, value: int) -> None:
    """As the package of that name computes them, from any value on."""
    assert frames.crc32c(data, value) == crc32c(data, value)
    assert frames.crc32c(memoryview(data)) == crc32c(data)


@pytest.mark.parametrize("cut", range(len(THREE[1])))
def test_a_torn_frame_is_skipped(cut: int) -> None:
    """It takes no number: its record was not appended."""
    torn = THREE[1][:cut]
    assert values(entries(THREE[0] + torn + THREE[2], ended=False)) == [b"record 1", b"record 3"]
    assert values(entries(THREE[0] + torn)) == [b"record 1"]


@pytest.mark.parametrize("cut", range(1, len(THREE[1])))
def test_the_front_of_a_write_is_left_for_the_next_time(cut: int) -> None:
    """The reader may come while the kernel copies the bytes."""
    found = scan(THREE[0] + THREE[1][:cut], SEED, ended=False)
    assert (values(found.entries), found.size) == ([b"record 1"], len(THREE[0]))


def test_the_end_of_an_ended_stream_is_consumed() -> None:
    """The rest of a torn frame will never come."""
    block = THREE[0] + THREE[1][:-1]
    assert scan(block, SEED, ended=True).size == len(block)


def test_several_torn_frames_are_skipped() -> None:
    """A full disk may cut one write short after the other."""
    torn = THREE[1][:20] + THREE[1][:-2] + THREE[1][:4]
    assert values(entries(torn + THREE[2], ended=False)) == [b"record 3"]


# -- hostile bytes --------------------------------------------------------------------------------

HOSTILE_BODIES: dict[str, bytes] = {
    "too short": b"",
    "an unknown kind": b"\x63" + encode(frame(), SEED)[13:],
    "more than is understood": encode(frame(), SEED)[12:] + b"?",
    "a value that is longer than the body": encode(frame(), SEED)[12:47] + b"\x7f\xff\xff\xff",
    "two thousand million headers": encode(frame(None), SEED)[12:-4] + b"\x7f\xff\xff\xff",
    "headers that lead back": encode(frame(None), SEED)[12:-4]
    + b"\x7f\xff\xff\xff\xff\xff\xff\xf8\xff\xff\xff\xff",
    "a header of huge size": encode(frame(None), SEED)[12:-4] + b"\0\0\0\1" + b"\xff" * 8,
    "a number that is none": encode(frame(key=1, data=b"1"), SEED)[12:].replace(b"\0011", b"\1x"),
    "a text that is none": encode(frame(key="a", data=b"a"), SEED)[12:].replace(b"\1a", b"\1\xff"),
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_a_good_checksum_over_nonsense_is_damage(body: bytes) -> None:
    """A release that writes what it should not does not stop the reader."""
    found = entries(resealed(body.ljust(SMALLEST - 12, b"\0")) + THREE[2])
    assert values(found) == [b"?", b"record 3"]


@pytest.mark.parametrize("length", [0, 1, MAX_BODY, MAX_BODY + 1, 2**31, 2**32 - 1])
def test_a_length_that_lies(length: int) -> None:
    """Is damage or a torn write; the frames behind are read."""
    lie = HEADER.pack(MAGIC, length, 0) + bytes(SMALLEST)
    found = values(entries(lie + THREE[2], ended=False))
    assert found in ([b"record 3"], [b"?", b"record 3"])


@given(
    st.lists(
        st.sampled_from([*THREE, MAGIC, MAGIC[:3], *(one[:30] for one in THREE)]) | st.binary()
    )
)
@examples(300)
def test_no_bytes_make_it_raise(parts: list[bytes]) -> None:
    """And frames that stand whole behind a frame are read whatever stands before them."""
    block = b"".join(parts)
    for ended in (True, False):
        found = scan(block + THREE[1] + THREE[2], SEED, ended=ended)
        assert values(found.entries)[-1:] == [b"record 3"]
        assert found.size == found.ends[-1] == len(block + THREE[1] + THREE[2])
        assert len(found.ends) == len(found.entries)
        assert found.ends == sorted(set(found.ends))


HOSTILE_BLOCKS: dict[str, Any] = {
    "magics": lambda size: MAGIC * size,
    "magics with long lengths": lambda size: HEADER.pack(MAGIC, 8 * size, 0) * size,
    "magics with short lengths": lambda size: HEADER.pack(MAGIC, 1000, 0) * size,
    "magics with good lengths": lambda size: resealed(bytes(40))[:-1] * size,
    "prefixes": lambda size: MAGIC[:3] * size,
    "zeros": lambda size: bytes(8 * size),
    "torn frames": lambda size: THREE[1][:-1] * size,
    "clusters of magics": lambda size: (MAGIC * 3 + bytes(200)) * size,
    "frames and damage by turns": lambda size: (THREE[1] + THREE[1][:-1] + b"?") * size,
}


@pytest.mark.parametrize("block", HOSTILE_BLOCKS.values(), ids=HOSTILE_BLOCKS)
def test_the_work_grows_with_the_block(block: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in it: checksums are computed over each byte a few times at most."""
    summed = 0

    def counting(data: bytes, *start: int) -> int:
        nonlocal summed
        summed += len(data)
        return crc32c(data, *start)

    monkeypatch.setattr(frames, "crc32c", counting)
    data = block(2000)
    scan(data, SEED, ended=True)
    assert summed <= 4 * len(data)
