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
acknowledged: which process wrote them, whether it lives, which one ships them, and with --show
or --export the records themselves. It changes nothing, takes no lock, and may run at any time,
also while programs log.

Each record is one line of JSON: instance, topic, sequence (the number that it has, or will have,
in its header; null if that is unknown), time, level, key, value (what its JSON stands for, else
its text) and headers. A key or a value that is no text is in base64, as key_base64 or
value_base64. A record that is damaged has damaged_bytes instead.
"""

_EPILOG: Final = """\
exit status:
  0    listed; nothing is wrong
  1    listed; something is damaged, can't be read, has another format, or is not kiel_logging's
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
    output.add_argument("--show", action="store_true", help="the records, one a line, as JSON")
    output.add_argument(
        "--export", metavar="FILE", help="the same into a new file that only this user can read"
    )
    add = parser.add_argument_group("what is shown").add_argument
    add("--topic", action="append", metavar="NAME", help="may be given repeatedly")
    add(
        "--instance",
        action="append",
        metavar="NAME",
        help="or the first digits of it; may be given repeatedly",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show what waits in the directory and return the exit status."""
    try:
        found = survey(Path(arguments.directory), arguments.topic, arguments.instance)
        if arguments.export is not None:
            _export(found, Path(arguments.export))
        elif arguments.show:
            sys.stdout.writelines(_records(found))
        else:
            _list(found, as_json=arguments.json)
    except CannotLook as error:
        _tell(str(error))
        return _CANNOT_LOOK
    problems = list(found.problems)
    if arguments.show or arguments.export is not None:
        for where, problem in problems:
            _tell(f"{where}: {problem}")
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
    """Write all records to a new file, which is removed if not all of it can be written."""
    if path.resolve().is_relative_to(found.root.resolve()):
        raise CannotLook(f"{path} is in the directory that is to be shown: choose another place")
    try:
        with _new_file(path) as file:
            number = 0
            for line in _records(found):
                file.write(line)
                number += 1
    except FileExistsError:
        raise CannotLook(f"{path} exists, and is not written over: choose another name") from None
    except OSError as error:
        raise CannotLook(f"{path} can't be written: {reason_of(error)}") from error
    _tell(f"{count(number, 'record')} exported to {path}")


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


def _tell(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"kiel-logging spool: {plain(text)}\n")
