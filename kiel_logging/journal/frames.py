"""Frames: how a record becomes bytes of a segment, and how bytes are read. Pure.

The package's documentation has the format, and the invariants that make it readable.
"""

import itertools
import struct
import sys
from typing import Any, Final, NamedTuple

from kiel_logging.errors import SpoolError

try:
    from kiel_logging._accelerator import crc32c as crc32c
except ImportError:  # there was no C compiler
    from crc32c import crc32c as crc32c

FORMAT: Final = 1
RECORD, EVENT, STATE = 1, 2, 3
MAX_BODY: Final = 128 * 1024 * 1024
"""Bytes. A length above it is damaged; nothing is read or allocated for it."""

_STEM: Final = b"KJ" + bytes([FORMAT])
_STUFFED: Final = _STEM + b"\0"
MAGIC: Final = _STEM + b"\xc5"

_HEADER: Final = struct.Struct(">4sII")
_FIXED: Final = struct.Struct(">BBBiqQQ")
_SIZE: Final = struct.Struct(">i")
_SIZES: Final = struct.Struct(">Ii")
SMALLEST: Final = _HEADER.size + _FIXED.size + 3 * _SIZE.size
"""Bytes of a frame without digest, key, value and headers."""

_NONE, _BYTES, _TEXT, _NUMBER = range(4)
_LEVELS: Final = range(-(2**31), 2**31)


class Frame(NamedTuple):
    """One entry of a stream; see the package's documentation for the kinds.

    A partitioner gets ``key``; ``data`` is the key as bytes. ``timestamp`` is in milliseconds.
    Only the process that appended the frame understands ``waiter``; 0 for none. ``sequence`` is 0
    for a record that is not numbered yet. ``digest`` has 32 bytes or none.
    """

    kind: int
    key: Any
    data: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int
    level: int
    waiter: int = 0
    sequence: int = 0
    digest: bytes = b""


class Damage(NamedTuple):
    """Bytes before an entry's end that were one frame, most likely, and take its number."""

    size: int


class Scan(NamedTuple):
    """All that was understood of a block.

    ``ends`` has the offset behind each entry. ``size`` counts the bytes that need not be read
    again. ``foreign`` is the format of a frame at ``size`` that another release wrote.
    """

    entries: list[Frame | Damage]
    ends: list[int]
    size: int
    foreign: int | None = None


def seed(instance: str, topic: str) -> int:
    """Return the start value of all checksums of a stream."""
    return crc32c(f"{instance}/{topic}".encode())


def encode(frame: Frame, seed: int) -> bytes:
    """Return ``frame`` as bytes. A key of a type of the user's becomes its bytes.

    Raises:
        SpoolError: it has more than MAX_BODY bytes.
    """
    kind, key, data, value, headers, timestamp, level, waiter, sequence, digest = frame
    level = level if level in _LEVELS else 0
    parts = [
        _FIXED.pack(kind, _kind_of(key, data), len(digest), level, timestamp, waiter, sequence),
        digest,
        _sized(data),
        _sized(value),
        _SIZE.pack(len(headers)),
    ]
    for name, content in headers:
        encoded = name.encode("utf-8", "surrogatepass")
        size = -1 if content is None else len(content)
        parts += _SIZES.pack(len(encoded), size), encoded, content or b""
    body = b"".join(parts).replace(_STEM, _STUFFED)
    if len(body) > MAX_BODY:
        raise SpoolError(f"a record of {len(body)} bytes can't be spooled: log less at a time")
    return _HEADER.pack(MAGIC, len(body), _checksum(body, seed)) + body


def _checksum(body: bytes | memoryview, seed: int) -> int:
    return crc32c(body, crc32c(len(body).to_bytes(4, "big"), seed))


def _kind_of(key: Any, data: bytes | None) -> int:
    if data is None:
        return _NONE
    if type(key) is str and key.encode("utf-8", "surrogatepass") == data:
        return _TEXT
    return _NUMBER if type(key) is int and b"%d" % key == data else _BYTES


def _sized(content: bytes | None) -> bytes:
    return _SIZE.pack(-1) if content is None else _SIZE.pack(len(content)) + content


def scan(block: bytes, seed: int, *, ended: bool, at: int = 0, most: int = sys.maxsize) -> Scan:
    """Return the entries of ``block``, which starts where a frame starts.

    With ``ended`` nothing will follow the block. Without it, bytes at its end that can't be read
    may be the front of a write that is going on, and are left until a whole frame follows.

    Starts at the offset ``at``, where a frame starts too, and stops behind the good frame with
    which there are ``most`` entries; damage in front of it may make them more.

    Never raises, and takes time in proportion to the block, whatever the bytes are.
    """
    entries: list[Frame | Damage] = []
    ends: list[int] = []
    while at < len(block) and len(entries) < most:
        starts = [at]
        entry, end = _entry(block, at, seed)
        while entry is None and end < len(block):
            starts.append(end)
            entry, end = _entry(block, end, seed)
        if entry is None:
            foreign = _foreign(block, at) if len(starts) == 1 else None
            if foreign is not None or not ended:
                return Scan(entries, ends, at, foreign)
            starts.append(end)
        for start, behind in itertools.pairwise(starts):
            if _was_whole(block, start, behind):
                entries.append(Damage(behind - start))
                ends.append(behind)
        if entry is not None:
            entries.append(entry)
            ends.append(end)
        at = end
    return Scan(entries, ends, at)


def _entry(block: bytes, at: int, seed: int) -> tuple[Frame | Damage | None, int]:
    """Return the entry at ``at`` and its end; or None and the offset of the next magic.

    The checksum decides, not the magic, so a bit that flips in the magic costs nothing. Neither
    does one in the length, for the next magic shows as well where the frame ends.

    The search for a magic inside the frame has to come before its checksum: then checksums are
    computed over bytes between two magics only, and lengths that lie cost no time.
    """
    body = at + _HEADER.size
    if at + SMALLEST > len(block):
        return None, _next_magic(block, at + 1)
    _, length, checksum = _HEADER.unpack_from(block, at)
    end = body + length
    if end > len(block) or length > MAX_BODY or block.find(MAGIC, body, end) >= 0:
        end = body
    view = memoryview(block)
    if end > body and _checksum(view[body:end], seed) == checksum:
        return _decode(block, at, end), end
    end = _next_magic(block, at + 1)
    if end > body and _checksum(view[body:end], seed) == checksum:
        return _decode(block, at, end), end
    return None, end


def _next_magic(block: bytes, at: int) -> int:
    found = block.find(MAGIC, at)
    return len(block) if found < 0 else found


def _foreign(block: bytes, at: int) -> int | None:
    """Return the format of a magic that is another release's."""
    magic = block[at : at + len(MAGIC)]
    is_magic = magic[:2] == MAGIC[:2] and magic[3:] == MAGIC[3:]
    return magic[2] if is_magic and magic != MAGIC else None


def _was_whole(block: bytes, start: int, end: int) -> bool:
    """Return whether bytes that can't be read were a whole frame once.

    A write that was cut short has fewer bytes than its frame declares.
    """
    if end - start < SMALLEST:
        return False
    magic, length, _ = _HEADER.unpack_from(block, start)
    return bool(magic != MAGIC or _HEADER.size + length <= end - start)


def _decode(block: bytes, start: int, end: int) -> Frame | Damage:
    """Return a frame whose checksum is good; a Damage if it makes no sense all the same."""
    try:
        return _decode_body(block[start + _HEADER.size : end].replace(_STUFFED, _STEM))
    except (struct.error, ValueError):
        return Damage(end - start)


def _decode_body(body: bytes) -> Frame:
    kind, key_kind, digest_size, level, timestamp, waiter, sequence = _FIXED.unpack_from(body)
    at = _FIXED.size + digest_size
    digest = body[_FIXED.size : at]
    data, at = _take(body, at)
    value, at = _take(body, at)
    (count,) = _SIZE.unpack_from(body, at)
    at += _SIZE.size
    headers = []
    for _ in range(count):
        name_size, size = _SIZES.unpack_from(body, at)
        at += _SIZES.size
        name, at = body[at : at + name_size].decode("utf-8", "surrogatepass"), at + name_size
        headers.append((name, None if size < 0 else body[at : at + size]))
        at += max(size, 0)
    if at != len(body) or kind not in (RECORD, EVENT, STATE):
        raise ValueError(f"kind {kind}, {len(body)} bytes, of which {at} were understood")
    key = _key_of(key_kind, data)
    return Frame(kind, key, data, value, tuple(headers), timestamp, level, waiter, sequence, digest)


def _take(body: bytes, at: int) -> tuple[bytes | None, int]:
    (size,) = _SIZE.unpack_from(body, at)
    at += _SIZE.size
    return (None, at) if size < 0 else (body[at : at + size], at + size)


def _key_of(kind: int, data: bytes | None) -> Any:
    if kind == _TEXT and data is not None:
        return data.decode("utf-8", "surrogatepass")
    return int(data) if kind == _NUMBER and data is not None else data
