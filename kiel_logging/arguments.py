"""Pieces that several commands have: options, the types of their values, the packages needed."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec

from kiel_logging.output import CannotRun


def require(extra: str, *modules: str) -> None:
    """Raise CannotRun, with advice, unless the modules that an extra brings are installed."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise CannotRun(
            f"{' and '.join(missing)} not installed; pip install 'kiel_logging[{extra}]'"
        )


def add_connection(
    parser: argparse.ArgumentParser,
    *,
    timeout: float = 30.0,
    meaning: str = "how long to wait for brokers that don't answer",
) -> None:
    """Add the options that say which brokers are asked, and how."""
    add = parser.add_argument
    add("--brokers", metavar="HOST:PORT,...", help="the cluster")
    add(
        "--config",
        metavar="FILE",
        help="properties of a librdkafka or Java client: brokers, TLS, SASL ...",
    )
    add(
        "--timeout",
        type=seconds,
        default=timeout,
        metavar="SECONDS",
        help=f"{meaning} (%(default)g)",
    )


def seconds(text: str) -> float:
    """Return a number of seconds, up to eleven days."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of whole numbers from ``least`` to ``most``."""

    def convert(text: str) -> int:
        if not text.isdecimal() or not text.isascii() or not least <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}"
            )
        return int(text)

    return convert


def moment(text: str) -> int:
    """Return a time in ISO 8601, of UTC if it names no zone, in milliseconds since the epoch."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time like 2026-01-02T03:04:05Z"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return round(when.timestamp() * 1000)
