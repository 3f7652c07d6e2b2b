"""The codecs of a record batch: name -> attribute bits and compress function.

A table; nothing else in the package knows how a codec is called or numbered. Snappy is written
raw, as librdkafka does (one block, one call that releases the GIL); Java's consumers read that as
well as their own xerial framing.
"""

import gzip
from collections.abc import Callable
from typing import Final, NamedTuple

import snappy

from kiel_logging import constants
from kiel_logging.errors import ConfigurationError


class Codec(NamedTuple):
    """How the records of a batch are compressed.

    ``bits`` are the lowest three bits of the batch's attributes.
    """

    name: str
    bits: int
    compress: Callable[[bytes], bytes]


def _gzip(data: bytes) -> bytes:
    # No time stamp inside: a batch that is sent again is the same to the byte.
    return gzip.compress(data, mtime=0)


def _snappy(data: bytes) -> bytes:
    return bytes(snappy.compress(data))


NONE: Final = Codec("none", 0, bytes)

CODECS: Final = {
    constants.GZIP: Codec(constants.GZIP, 1, _gzip),
    constants.SNAPPY: Codec(constants.SNAPPY, 2, _snappy),
}


def codec(name: str | None) -> Codec:
    """Return the codec that is called ``name``; None and ``"none"`` mean no compression.

    Raises:
        ConfigurationError: there is no such codec.
    """
    if name is None or name == NONE.name:
        return NONE
    try:
        return CODECS[name]
    except (KeyError, TypeError):
        allowed = ", ".join(repr(known) for known in CODECS)
        raise ConfigurationError(
            f"compression={name!r} is not known: use one of {allowed}, or None"
        ) from None
