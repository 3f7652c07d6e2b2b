"""The part of a stored record that does not depend on its batch: key, value and headers.

Source: Kafka's message format (KIP-82 for headers)::

    keyLength varint | key | valueLength varint | value | headerCount varint | headers
    header: nameLength varint | name | valueLength varint | value

In front of it stand the record's length, attributes, timestamp delta and offset delta. Varints are
those of Protocol Buffers: zigzag, then seven bits a byte, lowest first.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from kiel_logging.records import Header


def compute_varint(value: int) -> bytes:
    """Return the varint of any int in the range of 64 bits."""
    rest = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_TABLE_SIZE: Final = 1 << 10
_TABLE: Final = tuple(compute_varint(value) for value in range(_TABLE_SIZE))
_NULL: Final = compute_varint(-1)
"""The length of a null."""


def encode_varint(value: int) -> bytes:
    """Return the varint of a length or a delta: a table look-up for nearly all of them."""
    return _TABLE[value] if 0 <= value < _TABLE_SIZE else compute_varint(value)


def encode_body(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    """Return the record from the length of its key to its last header."""
    return b"".join(
        (
            _NULL if key is None else encode_varint(len(key)),
            key or b"",
            _NULL if value is None else encode_varint(len(value)),
            value or b"",
            _encode_headers(headers) if headers else _TABLE[0],
        )
    )


def _encode_headers(headers: Sequence[Header]) -> bytes:
    # Called for each record that has any, so it looks the table up itself.
    parts = [encode_varint(len(headers))]
    for key, value in headers:
        if value is None:
            parts += (_encode_name(key), _NULL)
        else:
            size = len(value)
            parts += (
                _encode_name(key),
                _TABLE[size] if size < _TABLE_SIZE else compute_varint(size),
                value,
            )
    return b"".join(parts)


@lru_cache(maxsize=256)
def _encode_name(key: str) -> bytes:
    # All records of a program bear the same few names.
    name = key.encode()
    return encode_varint(len(name)) + name
