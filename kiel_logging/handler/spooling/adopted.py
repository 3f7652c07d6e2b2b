"""The spool file of a process that is no more, while its records are sent by this one."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.worker import Worker
from kiel_logging.handler.spooling.placed import Placed, nobody
from kiel_logging.handler.spooling.reading import Ahead, Complain, Removal
from kiel_logging.handler.spooling.stream_state import StreamState, read_state

_MOST_FAILURES: Final = 3
"""So often a file may fail in a row before it is left to another process."""


class Stream(NamedTuple):
    """What is left of a stream: how many records, and where it stood."""

    topic: str
    records: int
    state: StreamState


class Adopted:
    """Rows of others, in order.

    Args:
        file: whose rows.
        worker: reads and removes.
        changed: called when there may be more to feed, or nothing is left.
        complain: takes what is wrong.

    Attributes:
        given_up: whether it failed too often.
    """

    def __init__(
        self, file: SpoolFile, worker: Worker, *, changed: Callable[[], None], complain: Complain
    ) -> None:
        self.file = file
        self.given_up = False
        self._failures = 0
        self._complain = complain
        self._out = 0
        self._ahead = Ahead(
            file, self, worker, awaited_of=nobody, changed=changed, complain=self._fail
        )
        self.removal = Removal(file, worker, changed=changed, complain=complain)

    def __repr__(self) -> str:
        return f"<Adopted {self.file!r} with the feed={self._out}>"

    def _fail(self, error: Exception) -> None:
        self._complain(error)
        self._failures += 1
        self.given_up = self._failures >= _MOST_FAILURES

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` stamped items that come next."""
        items = self._ahead.take(most)
        self._out += len(items)
        if items:
            self._failures = 0
        if not self._ahead.dry:
            self._ahead.wish()
        return items

    @property
    def fed(self) -> bool:
        """Whether all of it is with the feed, as far as it can be."""
        return self.given_up or (
            self._ahead.dry and not self._ahead.reading and not self._ahead.ready
        )

    @property
    def done(self) -> bool:
        """Whether its records have ended and are off the disk."""
        return self.fed and not self._out and (self.given_up or not self.removal.pending)

    def delivered(self, items: Sequence[Placed]) -> None:
        """The end of these is known: their rows may go."""
        self._out -= len(items)
        self.removal.add([item.place for item in items])
        if self.fed and not self._out:
            self.removal.begin()


def streams_of(file: SpoolFile) -> list[Stream]:
    """Return what is left of each stream whose end nobody knows; on the worker's thread."""
    counts = file.count_by_topic()
    found = []
    for topic, data in file.streams().items():
        state = read_state(data)
        if state is not None and not (state.ended and topic not in counts):
            found.append(Stream(topic, counts.get(topic, 0), state))
    return found
