"""The ``kiel-logging`` command: which subcommands there are, and how they end.

A subcommand is a module with ``DESCRIPTION``, ``EPILOG`` (its exit statuses), ``configure(parser)``
and ``run(arguments) -> exit status``. It raises CannotRun or KielError where it has to give up. It
is imported when it is asked for: ``kiel-logging --help`` must not pay for, or fail on, the needs of
a single one.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kiel_logging import interrupt
from kiel_logging.constants import VERSION
from kiel_logging.errors import KielError
from kiel_logging.output import CannotRun, ReaderGone, standard_output
from kiel_logging.printable import printable

if TYPE_CHECKING:
    import argparse

_PROGRAM: Final = "kiel-logging"
_FAILED: Final = 2
_EXTRAS_FOR_DEVELOPERS: Final = {"bench", "dev", "docs", "lint", "test"}
_READER_GONE: Final = 141
"""The status that a shell reports for a program that SIGPIPE ended."""

_STATUSES: Final = """\
  130  interrupted by Ctrl-C
  141  the reader of the output went away, as head does
"""
_EPILOG: Final = f"""\
'{_PROGRAM} COMMAND --help' shows a command's options and exit statuses.

exit status of all commands:
  2    wrong options, the command could not run, or its output could not
       be written
{_STATUSES}"""


class Subcommand(NamedTuple):
    """Where a subcommand lives, and the line that ``--help`` shows for it."""

    module: str
    summary: str


SUBCOMMANDS: Final = {
    "check": Subcommand(
        "kiel_logging.check.command",
        "find out whether records can get from here to Kafka, and if not, why",
    ),
    "demo": Subcommand(
        "kiel_logging.demo.command",
        "log a web shop's traffic into Kafka, read it all back and compare",
    ),
    "prove": Subcommand(
        "kiel_logging.verify.proofs",
        "write the proof of one record, for somebody who has no Kafka",
    ),
    "ship": Subcommand(
        "kiel_logging.ship.command",
        "send what SpoolHandlers append, for all programs of a host",
    ),
    "spool": Subcommand(
        "kiel_logging.spool_command.command",
        "show the records that wait on disk, in a handler's spool_dir",
    ),
    "tail": Subcommand(
        "kiel_logging.tail.command",
        "show the log records of topics, and those that come",
    ),
    "verify": Subcommand(
        "kiel_logging.verify.command",
        "read topics and check that everything sent is there, unchanged",
    ),
    "view": Subcommand(
        "kiel_logging.view.command",
        "show the log records of topics in a browser on this host",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit status."""
    watch = interrupt.Interrupt(_report_interrupt)
    status = _FAILED
    try:
        watch.start()
        status = _run(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:
        _report_interrupt()
        status = interrupt.STATUS
    finally:
        if argv is not None:
            watch.stop()
        elif status != interrupt.STATUS:
            watch.stop(signal.SIG_DFL)  # while Python ends, Ctrl-C would show a traceback
    return status


def _run(words: Sequence[str]) -> int:
    program = " ".join([_PROGRAM, *(word for word in words[:1] if word in SUBCOMMANDS)])
    try:
        with standard_output() as output:
            try:
                arguments = _parser(words).parse_args(words)
                return int(arguments.run(arguments))
            except KeyboardInterrupt:
                output.discard()  # it may have ended the reader as well
                raise
    except ReaderGone:
        return _READER_GONE
    except (CannotRun, KielError) as error:
        _write_error(f"{program}: {printable(error)}\n")
        return _FAILED


def _report_interrupt() -> None:
    _write_error("\ninterrupted\n")


def _write_error(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # it can't be read


def _parser(words: Sequence[str]) -> "argparse.ArgumentParser":
    import argparse
    from importlib import import_module

    class Version(argparse.Action):
        """Prints what a bug report needs."""

        def __call__(self, parser: argparse.ArgumentParser, *_arguments: Any) -> None:
            print("\n".join(_about()))
            parser.exit()

    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Shows what kiel_logging does: it sends Python log records to Kafka.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action=Version,
        nargs=0,
        help="show versions, and whether compiled code is used",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, (module, summary) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary)
        if name in words:
            subcommand = import_module(module)
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
            subparser.description = subcommand.DESCRIPTION
            subparser.epilog = subcommand.EPILOG + _STATUSES
            subcommand.configure(subparser)
            subparser.set_defaults(run=subcommand.run)
    return parser


def _about() -> Iterator[str]:
    """Yield all that a bug report needs: the version, whether compiled code is in use, Python, the
    dependencies."""
    import platform
    from importlib import metadata

    try:
        import kiel_logging._accelerator  # noqa: F401
    except ImportError:
        in_use = "not in use, Python does its work"
    else:
        in_use = "in use"
    yield f"{_PROGRAM} {VERSION}"
    yield f"compiled code: {in_use}"
    system = f"{platform.system()} {platform.machine()}"
    yield f"{platform.python_implementation()} {platform.python_version()} on {system}"
    for name, is_required in sorted(_dependencies().items()):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} is {'MISSING' if is_required else 'not installed (optional)'}"


def _dependencies() -> dict[str, bool]:
    """Return the names of all dependencies, and whether the package needs them."""
    import re
    from importlib import metadata

    found: dict[str, bool] = {}
    try:
        requirements = metadata.requires("kiel_logging") or []
    except metadata.PackageNotFoundError:  # a source tree that was not installed
        requirements = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if name and not (extra and extra[1] in _EXTRAS_FOR_DEVELOPERS):
            found[name[0]] = found.get(name[0], False) or extra is None
    return found
