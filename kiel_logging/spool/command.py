"""The options of ``kiel-logging spool``, its output, and its exit status."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from kiel_logging.output import count
from kiel_logging.spool.document import document, lines
from kiel_logging.spool.survey import CannotLook, Survey, reason_of, survey
from kiel_logging.spool.table import plain, table

_WHOLE, _DAMAGED, _CANNOT_LOOK = range(3)

_DESCRIPTION: Final = """\
Shows the records in the spool_dir of a kiel_logging.KafkaHandler that the brokers have not
acknowledged yet: which process wrote them, whether it is alive, which process ships them, and
with --show or --export the records themselves. It changes nothing and takes no lock, so you can
run it at any time, also while programs log.

Each record is one line of JSON: instance, topic, sequence (the number that its header has, or
will have; null if it is unknown), time, level, key, value (parsed if it is JSON, else its text)
and headers. Keys and values that are not text are in base64, as key_base64 and value_base64.
A damaged record has damaged_bytes instead.
"""

_EPILOG: Final = """\
exit status:
  0    listed; nothing is wrong
  1    listed; something is damaged, unreadable, of another format, or not kiel_logging's
  2    wrong options, the directory can't be read, or the output can't be written
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("directory", metavar="DIR", help="the spool_dir of the handlers")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="the list as one JSON document")
    output.add_argument("--show", action="store_true", help="the records as JSON, one on each line")
    output.add_argument(
        "--export", metavar="FILE", help="the same, into a new file that only you can read"
    )
    add = parser.add_argument_group("what is shown").add_argument
    add("--topic", action="append", metavar="NAME", help="only this topic; may be repeated")
    add(
        "--instance",
        action="append",
        metavar="NAME",
        help="only this one, or its first digits; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the records that wait in the directory, and return the exit status."""
    try:
        found = survey(Path(arguments.directory), arguments.topic, arguments.instance)
        if arguments.export is not None:
            _export(found, Path(arguments.export))
        elif arguments.show:
            sys.stdout.writelines(_records(found))
        else:
            _list(found, as_json=arguments.json)
    except CannotLook as error:
        _report(str(error))
        return _CANNOT_LOOK
    problems = list(found.problems)
    if arguments.show or arguments.export is not None:
        for where, problem in problems:
            _report(f"{where}: {problem}")
    return _DAMAGED if problems else _WHOLE


def _records(found: Survey) -> Iterator[str]:
    for backlog in found.backlogs:
        yield from lines(backlog)


def _list(found: Survey, *, as_json: bool) -> None:
    found.read()
    if as_json:
        sys.stdout.write(json.dumps(document(found), indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(found, time.time()))


def _export(found: Survey, path: Path) -> None:
    """Write all records to a new file; remove it if not all of them can be written."""
    if path.resolve().is_relative_to(found.root.resolve()):
        raise CannotLook(f"{path} is in the directory to be shown: choose another place")
    try:
        with _new_file(path) as file:
            number = 0
            for line in _records(found):
                file.write(line)
                number += 1
    except FileExistsError:
        raise CannotLook(f"{path} exists, and is not overwritten: choose another name") from None
    except OSError as error:
        raise CannotLook(f"{path} can't be written: {reason_of(error)}") from error
    _report(f"{count(number, 'record')} exported to {path}")


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(number, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            yield file
            file.flush()
            os.fsync(number)
    except BaseException:  # Ctrl-C as well
        path.unlink(missing_ok=True)
        raise


def _report(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"kiel-logging spool: {plain(text)}\n")
