"""The codecs of a record batch: name -> attribute bits, levels and compress function.

The table below is the one place for a codec. Snappy is written
raw, as librdkafka does (one block, one call that releases the GIL); Java's consumers read that as
well as their own xerial framing. LZ4 is written in frames of independent blocks, the only ones
that Java reads.

Codecs that are always there are imported when the first batch is compressed, the others when they
are chosen, so that a missing one is reported at once.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging import constants
from kiel_logging.errors import ConfigurationError


class Codec(NamedTuple):
    """How the records of a batch are compressed.

    ``bits`` are the lowest three bits of the batch's attributes.
    """

    name: str
    bits: int
    compress: Callable[[bytes], bytes]


Compress: TypeAlias = Callable[[bytes], bytes]


class _Kind(NamedTuple):
    """A codec that can be chosen: its number, its levels, and how it is made for one of them.

    ``is_extra``: its package comes with the extra of its name.
    """

    bits: int
    levels: range | None
    default: int | None
    make: Callable[[int], Compress]
    is_extra: bool = False


def _gzip(level: int) -> Compress:
    def compress(data: bytes) -> bytes:
        import gzip  # see above

        # No time stamp inside: a batch that is sent again is the same to the byte.
        return gzip.compress(data, compresslevel=level, mtime=0)

    return compress


def _snappy(_level: int) -> Compress:
    def compress(data: bytes) -> bytes:
        import snappy  # see above

        return bytes(snappy.compress(data))

    return compress


def _lz4(level: int) -> Compress:
    frame = _extra(constants.LZ4, "lz4.frame")
    return functools.partial(
        frame.compress, compression_level=level, block_linked=False, store_size=False
    )


def _zstd(level: int) -> Compress:
    compress: Compress = _extra(constants.ZSTD, "zstandard").ZstdCompressor(level=level).compress
    return compress


def _extra(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            f"compression={name!r} needs a package that is not installed: "
            f"pip install 'kiel_logging[{name}]'"
        ) from None


NONE: Final = Codec("none", 0, bytes)

_KINDS: Final = {
    constants.SNAPPY: _Kind(2, None, None, _snappy),
    constants.GZIP: _Kind(1, range(1, 10), 6, _gzip),
    constants.LZ4: _Kind(3, range(17), 0, _lz4, is_extra=True),
    constants.ZSTD: _Kind(4, range(-7, 23), 3, _zstd, is_extra=True),
}

NAMES: Final = tuple(_KINDS)
LEVELS: Final = {name: kind.levels for name, kind in _KINDS.items() if kind.levels is not None}
CHOICES: Final = ", ".join(
    f'"{name}" (extra `{name}`)' if kind.is_extra else f'"{name}"' for name, kind in _KINDS.items()
)
"""For people: the names, and the extras that bring their packages."""


def codec(name: str | None, level: int | None = None) -> Codec:
    """Return the codec that is called ``name``; None and ``"none"`` mean no compression.

    ``level`` is the codec's own measure of effort: gzip 1 to 9 (6), lz4 0 to 16 (0), zstd -7 to 22
    (3); None is the default.

    Raises:
        ConfigurationError: there is no such codec or level, or its package is not installed.
    """
    if name is None or name == NONE.name:
        _check_level(name, level, None)
        return NONE
    if not isinstance(name, str) or name not in _KINDS:
        allowed = ", ".join(map(repr, _KINDS))
        raise ConfigurationError(
            f"compression={name!r} is not known: use one of {allowed}, or None"
        )
    kind = _KINDS[name]
    _check_level(name, level, kind.levels)
    return Codec(name, kind.bits, kind.make(level if level is not None else kind.default or 0))


def _check_level(name: str | None, level: object, allowed: range | None) -> None:
    if level is None:
        return
    if allowed is None:
        raise ConfigurationError(f"compression_level={level!r}: compression={name!r} has no levels")
    if not isinstance(level, int) or isinstance(level, bool) or level not in allowed:
        raise ConfigurationError(
            f"compression_level={level!r} must be a whole number from {allowed[0]} to "
            f"{allowed[-1]} for compression={name!r}"
        )
