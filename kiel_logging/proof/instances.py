"""The ids of instances: 32 lower-case hex digits of a UUID, version 7 (RFC 9562). Pure.

The first twelve digits are the time at which the instance began, in milliseconds since the epoch.
Every record bears the id of its instance, and its digest covers it. So each record of a stream
shows an age that none of the stream's records exceeds, even where all earlier ones are gone.
"""

import re
from typing import Final

INSTANCE: Final = re.compile(r"[0-9a-f]{32}")

RANDOM_SIZE: Final = 10
"""Bytes of randomness in an id; six bits of them give way to version and variant."""

_TIME_DIGITS: Final = 12
_VERSION: Final = "7"
_VARIANTS: Final = "89ab"


def new_instance(now_ms: int, random: bytes) -> str:
    """Return the id of an instance that begins at ``now_ms``, made of ``RANDOM_SIZE`` bytes."""
    number = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(random[:RANDOM_SIZE])
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return f"{number:032x}"


def began_at(instance: str) -> int | None:
    """Return when an instance began, in milliseconds; None if its id does not say."""
    if instance[_TIME_DIGITS] != _VERSION or instance[16] not in _VARIANTS:
        return None
    return int(instance[:_TIME_DIGITS], 16)
