"""A spool file and its worker, both of which do what they are told, without threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.row import Row


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on a loop, for timers."""
    asyncio.run(main())


class Tasks:
    """A worker that works when it is told to."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Callable[[], Any], Callable[..., Any]]] = deque()

    def submit(self, job: Callable[[], Any], then: Callable[..., Any]) -> None:
        """Do it later."""
        self._jobs.append((job, then))

    def work(self) -> None:
        """Do what comes next."""
        job, then = self._jobs.popleft()
        try:
            result = job()
        except SpoolError as error:
            then(None, error)
        else:
            then(result, None)

    def work_off(self) -> None:
        """Do all of it."""
        while self._jobs:
            self.work()


class Disk(Tasks):
    """A file, which may be full, and the worker that works on it when it is told to.

    Attributes:
        full: whether nothing can be written.
        rows: what is there.
        aside: what was taken out.
        removed: places that were removed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.rows: list[Row] = []
        self.aside: list[Row] = []
        self.removed: list[int] = []

    @property
    def last_place(self) -> int:
        """The highest place."""
        return max(self.places, default=0)

    def streams(self) -> dict[str, bytes]:
        """Return none."""
        return {}

    def append(self, rows: Sequence[Row], _states: Mapping[str, bytes]) -> None:
        """Keep the rows."""
        if self.full:
            raise SpoolError("no room")
        self.rows += rows

    def holds(self, place: int) -> bool:
        """Whether there is such a row."""
        return place in self.places

    def read(self, after: int, most: int, _most_bytes: int) -> list[Row]:
        """Return some."""
        return sorted(row for row in self.rows if row.place > after)[:most]

    def set_aside(self, row: Row) -> Path:
        """Take it out."""
        self.rows.remove(row)
        self.aside.append(row)
        return Path("aside")

    def remove(self, places: Sequence[int]) -> None:
        """Remove them."""
        self.removed += places
        self.rows = [row for row in self.rows if row.place not in places]

    @property
    def places(self) -> list[int]:
        """Where there are rows."""
        return [row.place for row in self.rows]
