"""The ``kiel-logging`` command: which subcommands there are, and nothing of what they do.

A subcommand is a module of its own with ``configure(parser)`` and ``run(arguments) -> exit
status``. It is imported when it is asked for: ``kiel-logging --help`` must not pay for, or fail on,
what only one of them needs.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

from kiel_logging.constants import VERSION

_PROGRAM: Final = "kiel-logging"
_INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C ended."""


class Subcommand(NamedTuple):
    """Where a subcommand lives, and the line that ``--help`` shows for it."""

    module: str
    summary: str


SUBCOMMANDS: Final = {
    "demo": Subcommand(
        "kiel_logging.demo.command",
        "log a web shop's traffic into Kafka, read it all back and compare",
    ),
    "spool": Subcommand(
        "kiel_logging.spool.command",
        "show the records that wait on disk, in a handler's spool_dir",
    ),
    "verify": Subcommand(
        "kiel_logging.verify.command",
        "read topics and tell whether all that was sent is there, and as it was sent",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(words).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Python log records to Kafka: a logging.Handler and a Tornado/asyncio "
        "Producer. The command shows what they do.",
        epilog=f"'{_PROGRAM} COMMAND --help' tells the options of one command.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, (module, summary) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary)
        if name in words:
            subcommand = import_module(module)
            subcommand.configure(subparser)
            subparser.set_defaults(run=subcommand.run)
    return parser
