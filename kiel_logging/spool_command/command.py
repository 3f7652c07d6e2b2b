"""The command ``kiel-logging spool``: its options, its output and its exit status.

The output is ASCII alone, so neither a record nor a name from the disk can control a terminal.
"""

import argparse
import base64
import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from kiel_logging.journal.frames import Damage, Frame
from kiel_logging.output import CannotRun
from kiel_logging.printable import counted, printable
from kiel_logging.spool_command.survey import (
    Backlog,
    Instance,
    Owner,
    State,
    Survey,
    reason_of,
    survey,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def document(survey: Survey) -> dict[str, Any]:
    """Return the survey, whose backlogs were read, as JSON's types."""
    return {
        "directory": str(survey.root),
        "instances": [_instance(one) for one in survey.instances],
        "others": [{"name": name, "problem": why} for name, why in survey.strangers.items()],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "instance": instance.name,
        "owner": None if instance.owner is None else _owner_fields(instance.owner),
        "shipper": None if instance.owner is None else instance.owner.shipper,
        "streams": [_backlog(one) for one in instance.backlogs],
        "problems": instance.problems,
    }


def _owner_fields(owner: Owner) -> dict[str, Any]:
    return {
        "pid": owner.pid,
        "host": owner.host,
        "started": None if owner.started is None else _time(owner.started * 1000),
        "state": owner.state.value,
    }


def _backlog(backlog: Backlog) -> dict[str, Any]:
    return {
        "topic": backlog.topic,
        "records": backlog.records,
        "events": backlog.events,
        "damaged": backlog.damaged,
        "bytes": backlog.bytes,
        "set_aside_bytes": backlog.set_aside,
        "oldest": None if backlog.oldest is None else _time(backlog.oldest),
        "problems": backlog.problems,
    }


def lines(backlog: Backlog) -> Iterator[str]:
    """Yield each record of ``backlog`` as a line of JSON."""
    for sequence, content in backlog.entries():
        line = {"instance": backlog.instance, "topic": backlog.topic, "sequence": sequence}
        yield (
            _line({**line, "damaged_bytes": content.size})
            if isinstance(content, Damage)
            else _record_line(line, content)
        )


def _record_line(line: dict[str, Any], frame: Frame) -> str:
    line["time"] = _time(frame.timestamp)
    line["level"] = logging.getLevelName(frame.level)
    line |= _text("key", frame.data)
    text = _text("value", frame.value)
    headers = [{"name": name, **_text("value", value)} for name, value in frame.headers]
    try:
        return _line({**line, **_parsed(text), "headers": headers})
    except RecursionError:  # JSON that is nested deeper than Python goes
        return _line({**line, **text, "headers": headers})


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, allow_nan=False) + "\n"


def _text(name: str, content: bytes | None) -> dict[str, Any]:
    """Return bytes as text, or in base64 under another name."""
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode("ascii")}


def _parsed(text: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the value parsed, if it is JSON."""
    try:
        return {
            name: json.loads(value, parse_constant=_refuse, parse_float=_finite)
            if name == "value" and value is not None
            else value
            for name, value in text.items()
        }
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits} is too large")
    return number


def _time(milliseconds: float) -> str | None:
    """Return a time since 1970 in the format of RFC 3339; None if that has no such year."""
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_NAME: Final = 26
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def table(survey: Survey, now: float) -> Iterator[str]:
    """Yield the lines of the table; ``now`` is in seconds since 1970."""
    for instance in survey.instances:
        yield from map(plain, _lines(instance, now))
        yield ""
    for name, problem in survey.strangers.items():
        yield plain(f"{name}: {problem}")
    if survey.strangers:
        yield ""
    yield plain(_last_line(survey))


def _lines(instance: Instance, now: float) -> Iterator[str]:
    yield instance.name
    if instance.owner is not None:
        yield f"  {_owner(instance.owner, now)}"
        yield f"  {_shipper(instance.owner)}"
    if instance.backlogs:
        yield f"    {'topic':{_NAME}}{'records':>11}{'bytes':>10}{'oldest':>9}"
    for backlog in instance.backlogs:
        yield from _stream(backlog, now)
    for problem in instance.problems:
        yield f"    ! {problem}"


def _owner(owner: Owner, now: float) -> str:
    pid = "a process" if owner.pid is None else f"pid {owner.pid}"
    host = "" if owner.host is None else f" on {owner.host}"
    started = "" if owner.started is None else f", started {age(now - owner.started)} ago"
    state = "perhaps alive" if owner.state is State.UNKNOWN else owner.state
    return f"written by {pid}{host}{started}: {state}"


def _shipper(owner: Owner) -> str:
    if owner.shipper is None:
        later = "; the next handler here will" if owner.state is State.GONE else ""
        return f"no process ships it{later}"
    if not owner.shipper:
        return "shipped by a process that can't be seen from here"
    return f"shipped by pid {owner.shipper}"


def _stream(backlog: Backlog, now: float) -> Iterator[str]:
    name = backlog.topic
    if len(name) >= _NAME:
        yield f"    {name}"
        name = ""
    oldest = "" if backlog.oldest is None else age(now - backlog.oldest / 1000)
    yield f"    {name:{_NAME}}{backlog.records:>11,}{size(backlog.bytes):>10}{oldest:>9}"
    for problem in backlog.problems:
        yield f"      ! {problem}"


def _last_line(survey: Survey) -> str:
    records = sum(backlog.records for backlog in survey.backlogs)
    waits = "waits" if records == 1 else "wait"
    line = f"{counted(records, 'records')} of {counted(len(survey.instances), 'instances')} {waits}"
    line += f", {size(sum(backlog.bytes for backlog in survey.backlogs))}"
    problems = len(list(survey.problems))
    return f"{line}; {counted(problems, 'problems')}, see above" if problems else line


def age(seconds: float) -> str:
    """Return a time span in its largest unit: ``3 min``."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length:,.0f} {unit}"
    return "0 s"


def size(number: int) -> str:
    """Return a number of bytes in three digits or so: ``1.2 MB``."""
    for least, unit in _SIZES:
        if number >= least:
            amount = number / least
            return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"
    return f"{number} B"


def plain(text: str) -> str:
    """Return ``text`` as one line of printable ASCII, with the rest escaped."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")


_WHOLE, _DAMAGED = range(2)

DESCRIPTION: Final = """\
Shows the records in the spool_dir of a kiel_logging.KafkaHandler that the brokers have not
acknowledged yet: which process wrote them, whether it is alive, which process ships them, and
with --show or --export the records themselves. It changes nothing and takes no lock, so you can
run it at any time, also while programs log.

Each record is one line of JSON: instance, topic, sequence (the number that its header has, or
will have; null if it is unknown), time, level, key, value (parsed if it is JSON, else its text)
and headers. Keys and values that are not text are in base64, as key_base64 and value_base64.
A damaged record has damaged_bytes instead.
"""

EPILOG: Final = """\
exit status:
  0    listed; nothing is wrong
  1    listed; something is damaged, unreadable, of another format, or not kiel_logging's
  2    wrong options, the directory can't be read, or the output can't be written
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
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
    found = survey(Path(arguments.directory), arguments.topic, arguments.instance)
    if arguments.export is not None:
        _export(found, Path(arguments.export))
    elif arguments.show:
        sys.stdout.writelines(_records(found))
    else:
        _list(found, as_json=arguments.json)
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
        raise CannotRun(f"{path} is in the directory to be shown: choose another place")
    try:
        with _new_file(path) as file:
            number = 0
            for line in _records(found):
                file.write(line)
                number += 1
    except FileExistsError:
        raise CannotRun(f"{path} exists, and is not overwritten: choose another name") from None
    except OSError as error:
        raise CannotRun(f"{path} can't be written: {reason_of(error)}") from error
    _report(f"{counted(number, 'records')} exported to {path}")


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
