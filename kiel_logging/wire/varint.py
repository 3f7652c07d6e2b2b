"""Kafka's signed varints: zigzag, then seven bits a byte, lowest first.

Source: Kafka's message format, which takes them from Protocol Buffers.
"""

from typing import Final


def encode(value: int) -> bytes:
    """Return the varint of any int in the range of 64 bits."""
    rest = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


TABLE_SIZE: Final = 1 << 10

TABLE: Final = tuple(encode(value) for value in range(TABLE_SIZE))
"""The varints of 0 to 1023: lengths and deltas of nearly every log record."""

MINUS_ONE: Final = encode(-1)
"""How Kafka writes the length of a null."""
