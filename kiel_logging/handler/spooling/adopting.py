"""Which files of processes that are no more this one sends: one after the other, oldest first.

On the loop thread; the worker opens and closes them.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.worker import Worker
from kiel_logging.handler.spooling.adopted import Adopted, Stream, streams_of
from kiel_logging.handler.spooling.placed import Placed
from kiel_logging.handler.spooling.reading import Complain

LOOK_EVERY: Final = 60.0
"""Seconds between two looks for files of processes that died meanwhile."""


class _Found(NamedTuple):
    file: SpoolFile
    streams: list[Stream]


class Adopting:
    """Looks for files, and has those whose records are not all delivered yet.

    Args:
        directory: where they are.
        worker: does the work on them.
        recovered: called for each stream of a file, before any of its records is taken.
        changed: called when there may be more to take.
        complain: takes what is wrong.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        worker: Worker,
        *,
        recovered: Callable[[Stream], None],
        changed: Callable[[], None],
        complain: Complain,
    ) -> None:
        self._directory = directory
        self._worker = worker
        self._recovered = recovered
        self._changed = changed
        self._complain = complain
        self._adopted: Adopted | None = None
        self._ending: list[Adopted] = []
        self._left: set[str] = set()
        self._looking = False
        self._looked = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Adopting {self._adopted} ending={len(self._ending)}>"

    @property
    def waiting(self) -> bool:
        """Whether anything is not with the feed yet, or it is not known."""
        return self._adopted is not None or not self._looked

    @property
    def files(self) -> list[Adopted]:
        """Those that have records, in the order in which they are sent."""
        return [*self._ending, *([] if self._adopted is None else [self._adopted])]

    def look(self) -> None:
        """Adopt the oldest file, if there is one."""
        if self._looking or self._closed or self._adopted is not None:
            return
        self._looking = True
        self._worker.submit(self._adopt, self._found)

    def _adopt(self) -> _Found | None:
        for store in self._directory.adopt():
            file = SpoolFile(self._directory, store)
            if store.instance in self._left:
                file.close()
                continue
            return _Found(file, streams_of(file))
        return None

    def _found(self, found: _Found | None, error: Exception | None) -> None:
        self._looking = False
        if error is not None:
            self._complain(error)
        if found is not None and self._closed:
            self._worker.submit(found.file.close, self._released)
        elif found is None:
            self._looked = True
            if not self._closed:
                self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self.look)
        else:
            self._adopted = Adopted(
                found.file, self._worker, changed=self._on_change, complain=self._complain
            )
            for stream in found.streams:
                self._recovered(stream)
        self._on_change()

    def _on_change(self) -> None:
        for one in [one for one in self._ending if one.done]:
            self._ending.remove(one)
            self._worker.submit(one.file.close, self._released)
        self._changed()

    def _released(self, _result: None, error: Exception | None) -> None:
        if error is not None:
            self._complain(error)

    def take(self, most: int) -> list[Placed] | None:
        """Return up to ``most`` items that come next; None when nothing of others is waiting."""
        adopted = self._adopted
        if adopted is not None:
            if (items := adopted.take(most)) or not adopted.fed:
                return items
            self._end(adopted)
        return None if self._looked and not self._looking else []

    def _end(self, adopted: Adopted) -> None:
        """All of it is fed: go on to the next."""
        self._adopted = None
        self._ending.append(adopted)
        if adopted.given_up:
            self._left.add(adopted.file.instance)
        self.look()
        asyncio.get_running_loop().call_soon(self._on_change)

    def close(self) -> None:
        """Look for no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
