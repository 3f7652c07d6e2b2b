"""The options ``spool_dir``, ``spool``, ``spool_max_bytes`` and ``spool_synchronous``, checked."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kiel_logging.errors import ConfigurationError
from kiel_logging.journal.locks import CAN_LOCK

OVERFLOW: Final = "overflow"
ALWAYS: Final = "always"
MODES: Final = (OVERFLOW, ALWAYS)
NORMAL: Final = "normal"
FULL: Final = "full"
SYNCHRONOUS: Final = (NORMAL, FULL)
DEFAULT_MAX_BYTES: Final = 1024**3
SMALLEST: Final = 1024 * 1024

_NO_LIMIT: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """Where and how to spool.

    ``always``: each record is in its journal before its logging call returns. ``full``: and the
    disk has confirmed it.
    """

    path: Path
    always: bool
    max_bytes: int | None
    full: bool


def spool_options(
    directory: object,
    mode: object,
    max_bytes: object,
    synchronous: object,
    *,
    delivery_timeout_ms: object,
    required_acks: object,
) -> SpoolOptions | None:
    """Return the checked options; None without ``spool_dir``.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    if directory is None:
        _refuse_without(mode, max_bytes, synchronous)
        return None
    if not CAN_LOCK:
        raise ConfigurationError(
            "spool_dir needs a Unix: by its file locks processes agree which of them sends what "
            "another has left, and this Python has none; leave spool_dir out"
        )
    _check_contradictions(delivery_timeout_ms, required_acks)
    return SpoolOptions(
        path=_path(directory),
        always=_one_of("spool", OVERFLOW if mode is None else mode, MODES) == ALWAYS,
        max_bytes=_bytes(max_bytes),
        full=_one_of("spool_synchronous", synchronous, SYNCHRONOUS) == FULL,
    )


def _refuse_without(mode: object, max_bytes: object, synchronous: object) -> None:
    given = {
        "spool": mode is not None,
        "spool_max_bytes": max_bytes != DEFAULT_MAX_BYTES,
        "spool_synchronous": synchronous != NORMAL,
    }
    for name, is_given in given.items():
        if is_given:
            raise ConfigurationError(
                f"{name} is of no use without spool_dir: give both, or neither"
            )


def _check_contradictions(delivery_timeout_ms: object, required_acks: object) -> None:
    if required_acks == 0:
        raise ConfigurationError(
            "spool_dir and required_acks=0 contradict each other: brokers that acknowledge nothing "
            "never let a record leave the disk; set required_acks to -1 or 1"
        )
    # Whether they are numbers at all the Producer checks.
    if isinstance(delivery_timeout_ms, int | float) and delivery_timeout_ms < _NO_LIMIT:
        raise ConfigurationError(
            f"spool_dir and delivery_timeout_ms={delivery_timeout_ms!r} contradict each other: "
            "what is spooled waits until the brokers take it; leave delivery_timeout_ms out"
        )


def _path(directory: object) -> Path:
    path = os.fspath(directory) if isinstance(directory, str | os.PathLike) else None
    if isinstance(path, str) and path and "\0" not in path:
        return Path(path).absolute()  # of now: the program may go to another directory
    raise ConfigurationError(f"spool_dir={directory!r} must be the path of a directory")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise ConfigurationError(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")


def _bytes(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < SMALLEST:
        raise ConfigurationError(
            f"spool_max_bytes={value!r} must be a whole number, at least {SMALLEST}, or None for "
            "no bound"
        )
    return value
