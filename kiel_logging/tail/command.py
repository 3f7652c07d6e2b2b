"""The options of ``kiel-logging tail``. Imports nothing that the extra ``tail`` brings."""

import argparse
import os
import re
import sys
import time
from typing import Any, Final

from kiel_logging.arguments import add_connection, moment, require, whole
from kiel_logging.tail.entries import LEVELS, severity_of
from kiel_logging.tail.filters import Filters, TailOptions
from kiel_logging.tail.lines import Documents, Lines

_DEFAULT_LINES: Final = 10
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

DESCRIPTION: Final = """\
Shows the log records in some topics, and those that come: time, level, logger, message, fields,
traceback. It reads the formats of kiel_logging (JSON, ECS, OTLP, GELF, text), and other JSON and
text. Losses that handlers report, records that come again, and numbers that did not come are shown
as well, whatever is filtered. It writes nothing and commits no offsets.
"""

EPILOG: Final = """\
exit status:
  0  all records were shown (--no-follow)
  2  the topics could not be read
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add_topics(parser, _DEFAULT_LINES)
    add = parser.add_argument_group("which records").add_argument
    add(
        "--level",
        type=_level,
        metavar="LEVEL",
        help="of that level or a higher one: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a number",
    )
    add(
        "--where",
        type=_condition,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="with that value: user_id=ada, order.id=17, host=web-1, key=ada; may be given "
        "repeatedly, and all must hold",
    )
    add(
        "--grep",
        type=_pattern,
        metavar="REGEX",
        help="in whose message, logger, fields or traceback it is found; (?i) in front ignores "
        "case",
    )
    add("--trace", metavar="ID", help="of that OpenTelemetry trace")
    add(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="continue with those that come (the default), or end",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document for each record, with all fields"
    )


def add_topics(parser: argparse.ArgumentParser, lines: int) -> None:
    """Add the options that say which topics are read, and from when on; ``lines`` is a default."""
    parser.add_argument("topics", nargs="+", metavar="TOPIC")
    add_connection(parser)
    add = parser.add_argument_group("where to begin").add_argument
    add(
        "--since",
        type=_since,
        metavar="TIME",
        help="of that time or later: 90s, 10m, 2h, 7d ago, or ISO 8601, UTC if it names no zone",
    )
    add(
        "--lines",
        type=whole(0, 100_000),
        metavar="N",
        help=f"at most N of those that are there already ({lines}; all with --since)",
    )


def options_of(arguments: argparse.Namespace, lines: int, **more: Any) -> TailOptions:
    """Return the options; ``lines`` is how many records are shown by default."""
    is_default = arguments.lines is None and arguments.since is None
    return TailOptions(
        topics=tuple(dict.fromkeys(arguments.topics)),
        config=arguments.config,
        brokers=arguments.brokers,
        timeout=arguments.timeout,
        since=arguments.since,
        lines=lines if is_default else arguments.lines,
        **more,
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the records and return the exit status."""
    require("tail", "confluent_kafka")
    from kiel_logging.tail.reader import Terminal, tail

    filters = Filters(
        level=arguments.level,
        where=tuple(arguments.where),
        grep=arguments.grep,
        trace=arguments.trace,
    )
    options = options_of(arguments, _DEFAULT_LINES, follow=arguments.follow, filters=filters)
    for_people = Lines(is_coloured=_is_coloured(), names_topics=len(options.topics) > 1)
    tail(options, Documents() if arguments.json else for_people, Terminal())
    return 0


def _is_coloured() -> bool:
    """Whether standard output is a terminal that is to have colours (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def _level(text: str) -> int:
    level = severity_of(text)
    if level is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no level: one of {', '.join(LEVELS)}, or a number"
        )
    return level


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return name, value


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def _since(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isdecimal() and number.isascii() and len(number) < 10:
        return max(0, round((time.time() - int(number) * _UNITS[unit]) * 1000))
    return moment(text)
