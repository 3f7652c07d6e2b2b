"""The options of ``kiel-logging verify``. Imports nothing that the extra ``verify`` brings."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kiel_logging.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.extras import advice
from kiel_logging.printable import printable
from kiel_logging.verify.errors import CannotVerify
from kiel_logging.verify.options import VerifyOptions

_CANNOT_VERIFY: Final = 2
_NEEDS: Final = ("confluent_kafka", "rich")

_DESCRIPTION: Final = """\
Reads topics that were written by kiel_logging.KafkaHandler from end to end and tells whether
every record is there, once, in order and as it was sent. It goes by the numbers, and where the
handler has chain=True by the digests, that the records bear in their headers. It writes nothing
and commits no offsets.

What can be told: numbers that are missing; with a chain also what was removed, altered, replaced
or forged, and whether a stream ends with its last word. With a key nobody without it can hide
any of that. What can't: that all records of an instance were deleted of which nothing else
tells; what a compacted topic has lost on purpose.
"""

_EPILOG: Final = """\
exit status:
  0  complete: every record that was sent is there, as it was sent
  1  incomplete or damaged
  2  it could not be checked
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--topic", action="append", required=True, metavar="NAME", help="may be given repeatedly")
    add("--brokers", metavar="HOST:PORT,...")
    add(
        "--config",
        metavar="FILE",
        help="properties of a librdkafka or Java client: brokers, TLS and SASL",
    )
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key-file", metavar="FILE", help="the key of the digests")
    key.add_argument("--key-env", metavar="NAME", help="the variable that has it")
    _add_scope_options(parser)
    add("--strict", action="store_true", help="repeats, strangers and doubts are failures too")
    add("--json", action="store_true", help="the whole verdict as one JSON document")
    add(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for brokers that don't answer (%(default)g)",
    )


def _add_scope_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is read").add_argument
    add("--since", type=_moment, metavar="TIME", help="records of that time or later (ISO 8601)")
    add("--until", type=_moment, metavar="TIME", help="records before; UTC if no zone is given")
    add(
        "--running",
        action="store_true",
        help="programs still write: no last words are expected of them, and their newest numbers "
        "may be on their way",
    )
    add("--uncommitted", action="store_true", help="read what open transactions have written too")


def run(arguments: argparse.Namespace) -> int:
    """Verify the topics and return the exit status."""
    if lacking := advice("verify", "verify", _NEEDS):
        sys.stderr.write(lacking)
        return _CANNOT_VERIFY
    from kiel_logging.verify.verification import verify

    try:
        return verify(options_of(arguments))
    except CannotVerify as error:
        sys.stderr.write(f"kiel-logging verify: {printable(error)}\n")
        return _CANNOT_VERIFY


def options_of(arguments: argparse.Namespace) -> VerifyOptions:
    """Return the parsed arguments with their types.

    Raises:
        CannotVerify: the key can't be read.
    """
    return VerifyOptions(
        topics=tuple(dict.fromkeys(arguments.topic)),
        config=arguments.config,
        brokers=arguments.brokers,
        key=_key(arguments),
        since=arguments.since,
        until=arguments.until,
        running=arguments.running,
        uncommitted=arguments.uncommitted,
        strict=arguments.strict,
        json=arguments.json,
        timeout=arguments.timeout,
    )


def _key(arguments: argparse.Namespace) -> bytes | None:
    if arguments.key_file:
        option, source = "--key-file", {"file": str(Path(arguments.key_file))}
    elif arguments.key_env:
        option, source = "--key-env", {"env": arguments.key_env}
    else:
        return None
    try:
        key = Secret(option, source).read_bytes()
    except ConfigurationError as error:
        raise CannotVerify(str(error)) from error
    if not key:
        raise CannotVerify(f"{option}: the key is empty")
    return key


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a day")
    return seconds


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time like 2026-01-02T03:04:05Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
