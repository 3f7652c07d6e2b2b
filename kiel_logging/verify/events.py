"""The handler's own records: the facts that they report of their stream, noted with it.

Each may come again, and then reports nothing new. Their details are read with care: anybody can
write such records, and where there is no key, seal them.
"""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kiel_logging.proof import headers as names
from kiel_logging.proof.checkpoints import END, Evidence, public_key
from kiel_logging.proof.instances import INSTANCE
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.stream import Range, Recovery, Start, Stream

_MOST_DETAILS: Final = 4_096
"""Bytes; the handlers write a few hundred."""
_MOST_RANGES: Final = 64
_HIGHEST: Final = 10**18
_MOST_SHOWN: Final = 250
"""Characters of a name."""


class Claim(NamedTuple):
    """The claims of a record that starts a stream, whether or not its digest matches."""

    topic: str
    key: str


class Report(NamedTuple):
    """One of the handler's own records: of which stream and topic, its number, its details, and
    whether it is sealed with two keys."""

    stream: Stream
    topic: str
    number: int
    details: Any
    rotates: bool = False
    evidence: Evidence | None = None


def take(report: Report, event: bytes | None, registry: Registry) -> bool:
    """Note what a record reports; return False where it makes no sense."""
    note = _NOTES.get((event or b"").decode("ascii", "replace"))
    if note is None:
        return False
    try:
        content = details_of(report.details)
        found = Evidence.of(content) if "note" in content else None
        if found is not None and found.checkpoint.topic == report.topic:
            if found.checkpoint.instance != report.stream.instance:
                return False
            registry.add(found, outside=False)
        return note(report._replace(details=content, evidence=found))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return False


def evidence(details: bytes | None) -> Evidence | None:
    """Return the checkpoint that a record bears, whether or not its digest matches."""
    try:
        return Evidence.of(details_of(details))
    except (ValueError, RecursionError):
        return None


def claim(event: bytes | None, details: bytes | None) -> Claim | None:
    """Return what a record says of its stream; None if it is none that starts one."""
    if event != names.START.encode():
        return None
    try:
        content = details_of(details)
        topic, key = content["topic"], content["key"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return Claim(topic, key) if type(topic) is str and type(key) is str else None


def rotation(details: bytes | None) -> tuple[str, str]:
    """Return the ids of the keys between which a record changes; empty texts if it makes no
    sense."""
    try:
        content = details_of(details)
        old, new = content["from"], content["to"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return "", ""
    return (old, new) if type(old) is str and type(new) is str else ("", "")


def details_of(details: bytes | None) -> Any:
    """Return the content of the details of an event.

    Raises:
        ValueError: there are none, or none that a handler writes.
    """
    if details is None or len(details) > _MOST_DETAILS:
        raise ValueError("no details, or more than any handler writes")
    return json.loads(details)


def _start(report: Report) -> bool:
    stream, number, details = report.stream, report.number, report.details
    if (details["topic"], details["instance"]) != (report.topic, stream.instance):
        return False
    if (details["key"] != "") != stream.keyed:
        return False
    if "public" in details:
        stream.public = public_key(details["public"])
    # These are only shown.
    said = (details.get(name) for name in ("handler", "host", "process"))
    start = Start(number, *("" if one is None else str(one)[:_MOST_SHOWN] for one in said))
    stream.start = start if stream.start is None else min(stream.start, start)
    return True


def _rotation(report: Report) -> bool:
    if report.rotates and report.stream.may_note():
        details = report.details
        report.stream.rotations[report.number] = str(details["from"]), str(details["to"])
    return report.rotates


def _pause(report: Report) -> bool:
    return isinstance(report.details, dict)


def _checkpoint(report: Report) -> bool:
    return report.evidence is not None


def _end(report: Report) -> bool:
    if not isinstance(report.details, dict):
        return False
    if report.stream.may_note():
        keys = report.stream.ends.setdefault(report.number, set())
        signed = report.evidence
        if signed is not None and signed.checkpoint.state == END:
            keys.add(signed.public)
    return True


def _drops(report: Report) -> bool:
    stream, number, details = report.stream, report.number, report.details
    records, lost = _count(details, "records"), _ranges(details, "numbers", number - 1)
    if stream.may_note(1 + len(lost)):
        stream.drops[number] = max(stream.drops.get(number, 0), records)
        stream.lost.update(lost)
    return True


def _omissions(report: Report) -> bool:
    stream, number, records = report.stream, report.number, _count(report.details, "records")
    if stream.may_note():
        stream.omissions[number] = max(stream.omissions.get(number, 0), records)
    return True


def _recovery(report: Report) -> bool:
    stream, number, details = report.stream, report.number, report.details
    dead, last, complete = details["instance"], _count(details, "last"), details["complete"]
    if not INSTANCE.fullmatch(dead) or dead == stream.instance or type(complete) is not bool:
        return False
    lost = _ranges(details, "lost", last)
    if stream.may_note(1 + len(lost)):
        stream.recoveries.add(Recovery(dead, number, last, complete, lost))
    return True


def _count(details: Any, name: str) -> int:
    return _whole(details[name], 0, _HIGHEST)


def _whole(number: Any, least: int, most: int) -> int:
    if type(number) is not int or not least <= number < most + 1:
        raise ValueError("no whole number, or one that no handler counts up to")
    return number


def _ranges(details: Any, name: str, most: int) -> tuple[Range, ...]:
    found = details.get(name, [])
    if len(found) > _MOST_RANGES:
        raise ValueError("more ranges than any handler writes")
    ranges = []
    for first, last in found:
        ranges.append((_whole(first, 1, most), _whole(last, first, most)))
    return tuple(ranges)


_NOTES: Final[dict[str, Callable[[Report], bool]]] = {
    names.START: _start,
    names.CHECKPOINT: _checkpoint,
    names.ROTATION: _rotation,
    names.PAUSE: _pause,
    names.END: _end,
    names.DROPS: _drops,
    names.OMISSIONS: _omissions,
    names.RECOVERY: _recovery,
}
