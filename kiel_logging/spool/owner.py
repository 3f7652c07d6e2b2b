"""The owner of an instance: the process that made it, whether it is alive, and who ships."""

import json
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from kiel_logging.journal.directory import OWNER, SHIPPER
from kiel_logging.journal.frames import FORMAT
from kiel_logging.journal.locks import birth, holder

_MOST: Final = 64 * 1024
_PIDS: Final = range(1, 2**31)
_TIMES: Final = 1e11


class State(StrEnum):
    """Whether the process that made an instance is alive.

    It is unknown while a process holds the lock that is not visible from here, such as one in
    another container: that may be the owner, or a process that ships the owner's records.
    """

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Owner(NamedTuple):
    """The facts about an owner; those that are unknown are None.

    ``format`` is that of its files. ``started`` is when it began to write, in seconds since 1970.
    ``shipper`` is the id of the process that ships the records: None if there is none, 0 if it is
    not visible from here.
    """

    format: object
    pid: int | None
    host: str | None
    started: float | None
    state: State
    shipper: int | None


def owner_of(instance: Path) -> Owner:
    """Return the owner of the instance in a directory; raise OSError if it can't be read."""
    locked_by = holder(instance / OWNER)
    about = _about(instance / OWNER, locked_by)
    pid, host, started = (about.get(name) for name in ("pid", "host", "started"))
    return Owner(
        format=about.get("format", FORMAT),
        pid=pid if isinstance(pid, int) and pid in _PIDS else None,
        host=host if isinstance(host, str) else None,
        started=started if isinstance(started, int | float) and 0 < started < _TIMES else None,
        state=_state(locked_by, about),
        shipper=holder(instance / SHIPPER),
    )


def _about(path: Path, locked_by: int | None) -> Mapping[str, Any]:
    """Return the facts that the owner wrote into the file of its lock."""
    if locked_by == os.getpid():  # closing any descriptor of the file would release the lock
        return {"pid": locked_by, "host": socket.gethostname()}
    try:
        with path.open("rb") as file:
            about = json.loads(file.readline(_MOST))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _state(locked_by: int | None, about: Mapping[str, Any]) -> State:
    """Distinguish the owner from a process that took the lock to ship the owner's records.

    Process ids alone don't suffice: a restarted container has the same ones, and a process in a
    container has another id when seen from outside.
    """
    if locked_by is None:
        return State.GONE
    if not locked_by:
        return State.UNKNOWN
    born, found = about.get("born"), birth(locked_by)
    is_owner = about.get("pid") == locked_by if None in (born, found) else born == found
    return State.ALIVE if is_owner else State.GONE
