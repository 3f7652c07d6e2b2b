"""Frames: how a record becomes bytes in a segment, and how a block of bytes is read. Pure.

The package's documentation has the format and the invariants that both functions rely on.
"""

import struct
from typing import Any, Final, NamedTuple

from crc32c import crc32c

from kiel_logging.errors import SpoolError

FORMAT: Final = 1
"""The version of everything below an instance's directory."""

RECORD: Final = 1
"""The kind of a frame that holds a record of the program."""
EVENT: Final = 2
"""The kind of a frame that holds a record which the handler itself made."""
STATE: Final = 3
"""The kind of a frame without a record: numbering continues behind its sequence and digest."""

MAX_BODY: Final = 128 * 1024 * 1024
"""Bytes. A length field above it is damaged; nothing is allocated for it."""

_PREFIX: Final = b"KJ"
_STEM: Final = _PREFIX + bytes([FORMAT])
MAGIC: Final = _STEM + b"\xc5"
_STUFFED: Final = _STEM + b"\0"

_HEADER: Final = struct.Struct(">4sII")
_CHECKED_LENGTH: Final = struct.Struct(">I")
_FIXED: Final = struct.Struct(">BBBiqQQ")
_SIZE: Final = struct.Struct(">i")
_SIZES: Final = struct.Struct(">ii")
SMALLEST: Final = _HEADER.size + _FIXED.size + 3 * _SIZE.size
"""Bytes of a frame with neither key, value, headers nor digest."""

_KINDS: Final = (RECORD, EVENT, STATE)
_NONE, _BYTES, _TEXT, _NUMBER = range(4)
_LEVELS: Final = range(-(2**31), 2**31)


class Frame(NamedTuple):
    """One entry of a stream.

    ``key`` goes to a partitioner, ``data`` is the key as bytes. ``timestamp`` is in milliseconds.
    ``waiter`` is a number that only the process which appended the frame understands; 0 for none.
    ``sequence`` is 0 before the record is numbered. ``digest`` has 32 bytes, or none.
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
    """Bytes that were most likely one frame; they take one number, as a record does."""

    offset: int
    size: int


class Scan(NamedTuple):
    """All that ``scan()`` understood.

    ``ends`` has the offset behind each entry, ``size`` counts the bytes that need not be read
    again, ``foreign`` is the format of a frame at ``size`` that another release wrote.
    """

    entries: list[Frame | Damage]
    ends: list[int]
    size: int
    foreign: int | None = None


def seed(instance: str, topic: str) -> int:
    """Return the start value of all checksums of one stream."""
    return crc32c(f"{instance}/{topic}".encode())


def encode(frame: Frame, seed: int) -> bytes:
    """Return ``frame`` as bytes. A key of a type of the user's is stored as its bytes.

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
    return crc32c(body, crc32c(_CHECKED_LENGTH.pack(len(body)), seed))


def _kind_of(key: Any, data: bytes | None) -> int:
    if data is None:
        return _NONE
    if type(key) is str and key.encode("utf-8", "surrogatepass") == data:
        return _TEXT
    if type(key) is int and str(key).encode() == data:
        return _NUMBER
    return _BYTES


def _sized(content: bytes | None) -> bytes:
    return _SIZE.pack(-1) if content is None else _SIZE.pack(len(content)) + content


def scan(block: bytes, seed: int, *, ended: bool) -> Scan:
    """Return the entries at the start of ``block``, which begins where a frame begins.

    With ``ended`` nothing will ever follow the block. Without it, its last bytes may be the front
    of a write that is going on: they are left for the next time until a whole frame follows.

    Never raises, and looks at each byte a fixed number of times, whatever the bytes are.
    """
    entries: list[Frame | Damage] = []
    ends: list[int] = []
    at = 0
    while at < len(block):
        entry, end = _entry(block, at, seed)
        pieces = [at]
        while entry is None and end < len(block):  # continue at the next magic
            pieces.append(end)
            entry, end = _entry(block, end, seed)
        if entry is None:
            if len(pieces) == 1 and (foreign := _foreign(block, at)) is not None:
                return Scan(entries, ends, at, foreign)
            if not ended:
                break
            pieces.append(end)
        for start, behind in zip(pieces, pieces[1:], strict=False):
            if _was_whole(block, start, behind):
                entries.append(Damage(start, behind - start))
                ends.append(behind)
        if entry is not None:
            entries.append(entry)
            ends.append(end)
        at = end
    return Scan(entries, ends, at)


def _entry(block: bytes, at: int, seed: int) -> tuple[Frame | Damage | None, int]:
    """Return the entry at ``at`` and its end; or None and the offset of the next magic.

    The checksum decides, not the magic: a flipped bit in the magic costs nothing. Neither does one
    in the length, for the next magic shows as well where a frame ends.

    The search for a magic inside of a frame comes before its checksum. So a checksum is computed
    over bytes between two magics only, and lengths that lie cost no time.
    """
    body = at + _HEADER.size
    if at + SMALLEST <= len(block):
        _, length, checksum = _HEADER.unpack_from(block, at)
        end = body + length
        if end <= len(block) and length <= MAX_BODY and block.find(MAGIC, body, end) < 0:
            if _checksum(memoryview(block)[body:end], seed) == checksum:
                return _decode(block, at, end), end
        following = _next_magic(block, at + 1)
        if following > body and _checksum(memoryview(block)[body:following], seed) == checksum:
            return _decode(block, at, following), following
        return None, following
    return None, _next_magic(block, at + 1)


def _next_magic(block: bytes, at: int) -> int:
    found = block.find(MAGIC, at)
    return len(block) if found < 0 else found


def _was_whole(block: bytes, start: int, end: int) -> bool:
    """Return whether bytes that can't be read were once a whole frame, most likely.

    A write that was cut short has fewer bytes than its frame declares.
    """
    if end - start < SMALLEST:
        return False
    magic, length, _ = _HEADER.unpack_from(block, start)
    return bool(magic != MAGIC or _HEADER.size + length <= end - start)


def _foreign(block: bytes, at: int) -> int | None:
    """Return the format of another release's frame at ``at``; None if there is none."""
    if block[at : at + 2] == _PREFIX and at + 2 < len(block) and block[at + 2] != FORMAT:
        return block[at + 2]
    return None


def _decode(block: bytes, start: int, end: int) -> Frame | Damage:
    """Return the frame whose checksum is good; a Damage if it still makes no sense."""
    try:
        return _decode_body(block[start + _HEADER.size : end].replace(_STUFFED, _STEM))
    except (struct.error, ValueError):
        return Damage(start, end - start)


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
    if at != len(body) or kind not in _KINDS:
        raise ValueError(f"kind {kind}, {len(body)} bytes, of which {at} were understood")
    key = _key_of(key_kind, data)
    return Frame(kind, key, data, value, tuple(headers), timestamp, level, waiter, sequence, digest)


def _take(body: bytes, at: int) -> tuple[bytes | None, int]:
    (size,) = _SIZE.unpack_from(body, at)
    at += _SIZE.size
    return (None, at) if size < 0 else (body[at : at + size], at + size)


def _key_of(kind: int, data: bytes | None) -> Any:
    if data is None:
        return None
    if kind == _TEXT:
        return data.decode("utf-8", "surrogatepass")
    return int(data) if kind == _NUMBER else data
