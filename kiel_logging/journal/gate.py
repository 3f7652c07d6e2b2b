"""The gate of a journal, through which all appends go, and the tails of its streams.

The law: a thread that has the gate is alone. Compiled code does not take it: it appends to a tail
while no thread has the gate, by one ``write(2)`` without the GIL, and the next thread that takes
the gate waits until no such write is under way.
"""

from typing import Any, Final

from kiel_logging import native

NO_BOUND: Final = -1


class GateInPython(native.RLock):  # type: ignore[misc,valid-type] # which is a class
    """A re-entrant lock, and the counts of what was appended under it.

    Args:
        lock: the lock that compiled code has instead of being one.
        max_bytes: the most that may be appended and not released; -1 for no bound.

    Attributes:
        appended_bytes: how many were appended; changed by those who append.
        released_bytes: how many of these are acknowledged; changed by the thread that ships.
        asides: writes under way that do without the lock.
        dirty: topics that were appended to, and that the thread that ships has not looked for.
        pending: records that were appended since it looked.
        asleep: whether it has read everything and has to be woken.
    """

    def __new__(cls, *_: Any) -> "GateInPython":
        """Make the lock, which takes no arguments."""
        return super().__new__(cls)  # type: ignore[no-any-return]

    def __init__(self, lock: Any, max_bytes: int) -> None:
        del lock
        self.max_bytes: Final = max_bytes
        self.appended_bytes = self.released_bytes = self.asides = self.pending = 0
        self.dirty: Final[dict[str, None]] = {}
        self.asleep = True


class TailInPython:
    """The end of one stream.

    Attributes:
        appended: records in the files so far. A record is counted before it can be read.
        torn: whether the last segment ends with the front of a frame; then nothing is appended.
    """

    def __init__(self, gate: GateInPython, topic: str, seed: int) -> None:
        del gate, topic, seed
        self.appended = 0
        self.torn = False

    def publish(self, *_: Any) -> None:
        """Let compiled code append to a file: there is none."""

    def withdraw(self) -> None:
        """Have each append take the gate."""


try:
    from kiel_logging._accelerator import Gate as Gate
    from kiel_logging._accelerator import Tail as Tail
except ImportError:  # there was no C compiler
    Gate, Tail = GateInPython, TailInPython  # type: ignore[assignment,misc]
