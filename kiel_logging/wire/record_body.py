"""The part of a stored record that does not depend on its batch: key, value and headers.

Source: Kafka's message format (KIP-82 for headers)::

    keyLength varint | key | valueLength varint | value | headerCount varint | headers
    header: nameLength varint | name | valueLength varint | value

In front of it stand the record's length, attributes, timestamp delta and offset delta.
"""

from collections.abc import Sequence
from functools import lru_cache

from kiel_logging.records import Header
from kiel_logging.wire import varint


def encode_body(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    """Return the record from the length of its key to its last header."""
    encode = encode_varint
    return b"".join(
        (
            varint.MINUS_ONE if key is None else encode(len(key)),
            key or b"",
            varint.MINUS_ONE if value is None else encode(len(value)),
            value or b"",
            encode_headers(headers) if headers else varint.TABLE[0],
        )
    )


def encode_headers(headers: Sequence[Header]) -> bytes:
    """Return the headers as a record ends with them, their count first."""
    # Called for each record that has any: look-ups of its own instead of encode_varint().
    table, most = varint.TABLE, varint.TABLE_SIZE
    parts = [encode_varint(len(headers))]
    for key, value in headers:
        if value is None:
            parts += (_encode_name(key), varint.MINUS_ONE)
        else:
            size = len(value)
            parts += (_encode_name(key), table[size] if size < most else varint.encode(size), value)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _encode_name(key: str) -> bytes:
    # All records of a program bear the same few names.
    name = key.encode()
    return encode_varint(len(name)) + name


def encode_varint(value: int) -> bytes:
    """Return the varint of a length or a delta: a table look-up for nearly all of them."""
    if 0 <= value < varint.TABLE_SIZE:
        return varint.TABLE[value]
    return varint.encode(value)
