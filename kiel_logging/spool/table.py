"""The survey for people: each instance with its owner, and a line for each of its streams.

Names come from the disk and may be anything, so only printable ASCII is written.
"""

from collections.abc import Iterator
from typing import Final

from kiel_logging.output import count
from kiel_logging.printable import printable
from kiel_logging.spool.owner import Owner, State
from kiel_logging.spool.survey import Backlog, Instance, Survey

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
    line = f"{count(records, 'record')} of {count(len(survey.instances), 'instance')} {waits}"
    line += f", {size(sum(backlog.bytes for backlog in survey.backlogs))}"
    problems = len(list(survey.problems))
    return f"{line}; {count(problems, 'problem')}, see above" if problems else line


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
