"""What the handler's own records tell of their stream, noted with it.

Each may come again, and then tells nothing new.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

from kiel_logging.proof import headers as names
from kiel_logging.verify.stream import Recovery, Start, Stream

INSTANCE: Final = re.compile(r"[0-9a-f]{32}")


def take(stream: Stream, number: int, event: bytes | None, details: bytes | None) -> bool:
    """Note what the record of this number tells; return False where it makes no sense."""
    note = _NOTES.get((event or b"").decode("ascii", "replace"))
    try:
        content = json.loads(details or b"")
        return note is not None and note(stream, number, content)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _start(stream: Stream, number: int, details: Any) -> bool:
    # Only shown: whoever leaves something out is not at fault.
    told = (details.get(name) for name in ("handler", "host", "process"))
    start = Start(number, *("" if one is None else str(one) for one in told))
    stream.start = start if stream.start is None else min(stream.start, start)
    return True


def _end(stream: Stream, number: int, details: Any) -> bool:
    if _count(details, "records") != number:
        return False
    stream.ends.add(number)
    return True


def _drops(stream: Stream, number: int, details: Any) -> bool:
    stream.drops[number] = max(stream.drops.get(number, 0), _count(details, "records"))
    return True


def _recovery(stream: Stream, number: int, details: Any) -> bool:
    dead = details["instance"]
    if not INSTANCE.fullmatch(dead):
        return False
    stream.recoveries.add(Recovery(dead, number, _count(details, "last")))
    return True


def _count(details: Any, name: str) -> int:
    number = details[name]
    if type(number) is not int or number < 0:
        raise ValueError(f"{name} is no count")
    return number


_NOTES: Final[dict[str, Callable[[Stream, int, Any], bool]]] = {
    names.START: _start,
    names.END: _end,
    names.DROPS: _drops,
    names.RECOVERY: _recovery,
}
