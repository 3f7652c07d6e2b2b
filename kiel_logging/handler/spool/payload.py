"""What a row's payload holds: a stamped record, and what the feed has to know of it. Pure.

::

    version u8 | kind of key u8 | flags u8 | level i32 | timestamp i64 | ticket u64
    key, value: length i32 (-1: None), bytes
    headers: count i32, and each: length of the name i32, of the value i32 (-1: None), both
    CRC-32 of all of it u32

The law: what ``pack()`` made ``unpack()`` returns. SQLite does not notice when a byte of a payload
changes on the disk; the sum at its end does.
"""

import struct
from typing import Any, Final, NamedTuple
from zlib import crc32

from kiel_logging.errors import SpoolDamaged
from kiel_logging.records import Header, Record

VERSION: Final = 1

_NONE, _BYTES, _TEXT, _NUMBER = range(4)
_OWN: Final = 1

_FIXED: Final = struct.Struct(">BBBiqQ")
_LENGTH: Final = struct.Struct(">i")
_LENGTHS: Final = struct.Struct(">ii")
_SUM: Final = struct.Struct(">I")
_LEVELS: Final = range(-(2**31), 2**31)


class Unpacked(NamedTuple):
    """A record as it was packed.

    ``key`` is what the partitioner gets. ``own`` marks what the handler itself said. ``ticket`` is
    a number that only the process which packed it knows the meaning of; 0 for none.
    """

    record: Record
    key: Any
    level: int
    own: bool
    ticket: int


def pack(record: Record, key: Any, level: int, *, own: bool = False, ticket: int = 0) -> bytes:
    """Return the payload of a record. A ``key`` of a type of the user's becomes its bytes."""
    stored, value, headers, timestamp = record
    parts = [
        _FIXED.pack(
            VERSION,
            _kind_of(key, stored),
            _OWN if own else 0,
            level if level in _LEVELS else 0,
            timestamp,
            ticket,
        ),
        _sized(stored),
        _sized(value),
        _LENGTH.pack(len(headers)),
    ]
    for name, content in headers:
        encoded = name.encode()
        parts += (
            _LENGTHS.pack(len(encoded), -1 if content is None else len(content)),
            encoded,
            content or b"",
        )
    whole = b"".join(parts)
    return whole + _SUM.pack(crc32(whole))


def _kind_of(key: Any, stored: bytes | None) -> int:
    if stored is None:
        return _NONE
    if type(key) is str and key.encode("utf-8", "surrogatepass") == stored:
        return _TEXT
    if type(key) is int and b"%d" % key == stored:
        return _NUMBER
    return _BYTES


def _sized(content: bytes | None) -> bytes:
    return _LENGTH.pack(-1) if content is None else _LENGTH.pack(len(content)) + content


def unpack(payload: bytes) -> Unpacked:
    """Return what was packed.

    Raises:
        SpoolDamaged: it is not what ``pack()`` made.
    """
    if len(payload) < _SUM.size or crc32(payload[:-4]) != _SUM.unpack(payload[-4:])[0]:
        raise SpoolDamaged("a record is not what was written: see to the disk")
    if payload[0] != VERSION:
        raise SpoolDamaged(
            f"a record has format {payload[0]} and this release of kiel_logging reads format "
            f"{VERSION}: the release that made it can send it"
        )
    try:
        return _unpack(payload)
    except (struct.error, ValueError, IndexError) as error:
        raise SpoolDamaged(
            f"a record makes no sense ({error}): whoever wrote it is wrong"
        ) from error


def _unpack(payload: bytes) -> Unpacked:
    _, kind, flags, level, timestamp, ticket = _FIXED.unpack_from(payload)
    key, at = _take(payload, _FIXED.size)
    value, at = _take(payload, at)
    (count,) = _LENGTH.unpack_from(payload, at)
    at += _LENGTH.size
    headers: list[Header] = []
    for _ in range(count):
        name_size, size = _LENGTHS.unpack_from(payload, at)
        at += _LENGTHS.size
        name, at = payload[at : at + name_size].decode(), at + name_size
        headers.append((name, None if size < 0 else payload[at : at + size]))
        at += max(size, 0)
    if at != len(payload) - _SUM.size:
        raise ValueError(f"{len(payload)} bytes, of which {at} were understood")
    record = Record(key, value, tuple(headers), timestamp)
    return Unpacked(record, _key_of(kind, key), level, bool(flags & _OWN), ticket)


def _take(payload: bytes, at: int) -> tuple[bytes | None, int]:
    (size,) = _LENGTH.unpack_from(payload, at)
    at += _LENGTH.size
    return (None, at) if size < 0 else (payload[at : at + size], at + size)


def _key_of(kind: int, stored: bytes | None) -> Any:
    if stored is None:
        return None
    if kind == _TEXT:
        return stored.decode()
    return int(stored) if kind == _NUMBER else stored
