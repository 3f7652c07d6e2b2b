"""What several commands have: options, the types of their values, and packages that they need."""

import argparse
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.util import find_spec


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which brokers are asked, and how."""
    add = parser.add_argument
    add("--brokers", metavar="HOST:PORT,...")
    add(
        "--config",
        metavar="FILE",
        help="properties of a librdkafka or Java client: brokers, TLS and SASL",
    )
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for brokers that don't answer (%(default)g)",
    )


def seconds(text: str) -> float:
    """Return a number of seconds, up to a day."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < number < 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a day")
    return number


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


def advice(command: str, extra: str, needs: Iterable[str]) -> str | None:
    """Return advice if one of the modules in ``needs`` is not installed, else None."""
    missing = [name for name in needs if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"kiel-logging {command}: {' and '.join(missing)} not installed; "
        f"pip install 'kiel_logging[{extra}]'\n"
    )
