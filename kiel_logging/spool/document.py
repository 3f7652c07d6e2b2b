"""JSON for programs: the survey as one document, and each record as one line.

It is ASCII alone, so no record can control a terminal.
"""

import base64
import json
import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from kiel_logging.journal.frames import Damage, Frame
from kiel_logging.spool.owner import Owner
from kiel_logging.spool.survey import Backlog, Instance, Survey

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
        "owner": None if instance.owner is None else _owner(instance.owner),
        "shipper": None if instance.owner is None else instance.owner.shipper,
        "streams": [_backlog(one) for one in instance.backlogs],
        "problems": instance.problems,
    }


def _owner(owner: Owner) -> dict[str, Any]:
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
