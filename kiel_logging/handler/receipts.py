"""Receipts: proof that the records which a block of the program logged are stored.

The law: a block that was left knows the end of every record that was logged in it, or names those
whose end is unknown. A waiter gets one outcome, and keeps it.

There is no lock. Logging threads add waiters; they and the loop thread settle them; and a signal
handler that waits for the loop thread may run on top of any of it. So each change is one that
CPython makes in one step: an item of a dict or of a list, an attribute.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, overload

from kiel_logging import native
from kiel_logging.errors import ConfigurationError, NotAcknowledged, ProducerStateError
from kiel_logging.handler.ledger import OUT_OF_MEMORY
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.handler.slices import plain
from kiel_logging.native import monotonic
from kiel_logging.record.item import Item, level_of
from kiel_logging.records import NO_OFFSET, Receipt, TopicPartition, Undelivered

if TYPE_CHECKING:
    import asyncio

    from kiel_logging.handler.lifecycle import Lifecycle
    from kiel_logging.handler.spool.awaited import AwaitedRecord

WAITER_MEMORY: Final = 300
"""Bytes that a waiter takes with its outcome, its text aside (tracemalloc, CPython 3.11)."""

_SLOW: Final = "the brokers are slow or away; the handler keeps trying"
_KEPT: Final = "it is kept on disk and will be sent again"
_KEPT_IN_MEMORY: Final = "it is kept and will be sent again"

_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two looks for what another process shipped."""

_MOST_NAMED: Final = 3
"""Records that an error's text names; its attribute has all."""

_LONGEST_NAMED: Final = 80

_UNDESCRIBED: Final = Undelivered("", logging.NOTSET, OUT_OF_MEMORY, None)
"""The outcome of a record for which there is no memory to describe it."""

CUT_SHORT: Final = "the logging call was cut short, so that it may be stored or not"


class ReceiptWaiter:
    """Waits for the end of one log record, for all blocks that it was logged in.

    Attributes:
        message: its text.
        level: logging's number.
        outcome: how it ended; None while that isn't known.
        record: where it is on disk, if another process ships it.
    """

    __slots__ = ("_blocks", "_held", "level", "message", "outcome", "record")

    def __init__(self, record: logging.LogRecord, blocks: "Sequence[Block]") -> None:
        self._blocks = blocks
        self.message = as_shipping(_text, record)
        self.level = level_of(record)
        self.outcome: Receipt | Undelivered | None = None
        self.record: AwaitedRecord | None = None
        self._held: tuple[str, Exception] | None = None

    def __repr__(self) -> str:
        return f"<ReceiptWaiter {self.message!r} {self.outcome}>"

    def begin(self) -> None:
        """Have its blocks wait for it from now on."""
        for block in self._blocks:
            block.add(self)

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return WAITER_MEMORY + sys.getsizeof(self.message)

    @property
    def is_urgent(self) -> bool:
        """Whether a block that waits for it is being left already."""
        for block in self._blocks:  # noqa: SIM110 # any() takes three times as long
            if not block.open:
                return True
        return False

    def delivered(self, topic_partition: TopicPartition, offset: int) -> None:
        """Settle it: the brokers stored the record."""
        self._settle(Receipt(*topic_partition, offset, self.message, self.level))

    def lost(self, reason: str, error: BaseException | None = None) -> None:
        """Settle it: the record won't be delivered, or its end can't be known."""
        try:
            outcome = Undelivered(self.message, self.level, reason, error)
        except MemoryError:
            outcome = _UNDESCRIBED
        self._settle(outcome)

    def held(self, error: Exception, *, on_disk: bool) -> None:
        """Note that the brokers reject the record for now; it is kept, and sent again."""
        self._held = (_KEPT if on_disk else _KEPT_IN_MEMORY, error)

    def end(self, timeout: float) -> Receipt | Undelivered:
        """Return its outcome, or the reason why there is none after ``timeout`` seconds."""
        if self.outcome is not None:
            return self.outcome
        late, error = f"not acknowledged within {timeout:g} s: ", None
        why = _SLOW if self.record is None else self.record.why()
        if self._held is not None:
            kept, error = self._held
            why = f"the brokers don't take it ({type(error).__name__}: {error}); {kept}"
        return Undelivered(self.message, self.level, late + why, error)

    def _settle(self, outcome: Receipt | Undelivered) -> None:
        if self.outcome is None:
            self.outcome = outcome
        for block in self._blocks:
            block.settled(self)


class Block:
    """The waiters of one block.

    Attributes:
        open: whether records that are logged now belong to it.
    """

    __slots__ = ("_all", "_waiting", "_wake", "open")

    def __init__(self) -> None:
        self._all: list[ReceiptWaiter] = []
        self._waiting: dict[ReceiptWaiter, None] = {}
        self._wake: Callable[[], object] | None = None
        self.open = True

    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        return f"<Block {state} all={len(self._all)} waiting={len(self._waiting)}>"

    @property
    def is_settled(self) -> bool:
        """Whether the end of each record is known."""
        return not self._waiting

    def all(self) -> list[ReceiptWaiter]:
        """Return all waiters, in the order in which their records were logged."""
        return self._all.copy()

    def waiting(self) -> list[ReceiptWaiter]:
        """Return those that have no outcome yet, in order."""
        return list(self._waiting)

    def add(self, waiter: ReceiptWaiter) -> None:
        """Wait for one more record."""
        self._waiting[waiter] = None
        self._all.append(waiter)

    def settled(self, waiter: ReceiptWaiter) -> None:
        """Note that ``waiter`` has an outcome."""
        self._waiting.pop(waiter, None)
        if not self._waiting and (wake := self._wake) is not None:
            wake()

    def close(self, wake: Callable[[], object]) -> None:
        """Wait for no more records; call ``wake``, perhaps twice, once all are settled."""
        self.open = False
        self._wake = wake
        if not self._waiting:
            wake()

    def forget(self) -> None:
        """Release all waiters."""
        self._all, self._waiting = [], {}

    def reset(self) -> None:
        """Release all waiters and the thread, in a forked child: their records are the parent's."""
        self.forget()
        if self._wake is not None:
            self._wake()


def _text(record: logging.LogRecord) -> str:
    try:
        return str(record.getMessage())
    except Exception:  # arguments that don't fit
        with suppress(Exception):
            return str(record.msg)
    return "<a message that can't be shown>"


_here: Final[ContextVar[tuple[Block, ...]]] = ContextVar("kiel_logging_receipts", default=())
"""The blocks, of all handlers, that the running code is in. Tasks and ``asyncio.to_thread`` begin
with a copy, so that they belong to the block that they were started in; they may outlive it."""


class OpenBlocks(dict[Block, None]):
    """The blocks of one handler that were not left yet.

    Each logging call asks whether there are any; C sees that a dict is empty.
    """

    def begin(self, block: Block) -> None:
        """Note that ``block`` begins in this context."""
        self[block] = None
        _here.set((*_here.get(), block))

    def end(self, block: Block) -> None:
        """Note that ``block`` is over; perhaps in another context, as with a pytest fixture."""
        self.pop(block, None)
        _here.set(tuple(other for other in _here.get() if other is not block))

    def waiter(self, record: logging.LogRecord) -> ReceiptWaiter | None:
        """Return a waiter for ``record``; None if it was logged outside of all blocks."""
        here = [block for block in _here.get() if block in self and block.open]
        return ReceiptWaiter(record, here) if here else None

    def begin_waiting(self, record: logging.LogRecord) -> ReceiptWaiter | None:
        """Return the waiter of ``record``, for which its blocks wait from now on."""
        waiter = self.waiter(record)
        if waiter is not None:
            waiter.begin()
        return waiter

    def delivered(
        self, items: Sequence[Item], topic_partition: TopicPartition, base_offset: int
    ) -> None:
        """Settle the waiters of a batch that the brokers stored at ``base_offset``, if known."""
        for delta, item in enumerate(items):
            if item.waiter is not None:
                offset = NO_OFFSET if base_offset == NO_OFFSET else base_offset + delta
                item.waiter.delivered(topic_partition, offset)

    def lost(self, items: Sequence[Item], reason: str, error: Exception | None = None) -> None:
        """Settle the waiters of ``items``, which won't be delivered."""
        for item in items:
            if item.waiter is not None:
                item.waiter.lost(reason, error)

    def reset(self) -> None:
        """Release everything, in a forked child."""
        for block in list(self):
            block.reset()


def with_waiter(item: Item, waiter: ReceiptWaiter) -> Item:
    """Return ``item`` with ``waiter``, which waits for its end."""
    (item,) = plain([item])
    return item._replace(waiter=waiter, memory=item.memory + waiter.memory)


class Receipts(Sequence[Receipt]):
    """Where the brokers stored the records that a block logged: ``handler.receipts()``.

    Leave the block, and every record that was logged in it is acknowledged, or NotAcknowledged
    says which were not. ``async with`` waits without blocking the loop; ``with`` blocks it.

    Records count that are logged in the block's context: by its calls, by tasks and
    ``asyncio.to_thread`` that begin in it, by threads that run ``contextvars.copy_context().run``,
    but by no other threads. Blocks may be nested; a record counts for each that it is in.

    A sequence of the receipts of acknowledged records, in the order in which they were logged. It
    does not change once the block was left.

    Args:
        blocks: the open blocks of the handler.
        lifecycle: delivers the handler's records.
        timeout: seconds.
        settle: settles those of some waiters whose end is known; None if the handler's thread does
            so.
    """

    def __init__(
        self,
        blocks: OpenBlocks,
        lifecycle: "Lifecycle",
        timeout: float,
        settle: Callable[[Iterable[ReceiptWaiter]], None] | None = None,
    ) -> None:
        self._blocks = blocks
        self._lifecycle = lifecycle
        self._timeout = timeout
        self._settle = settle
        self._block: Block | None = None
        self._stored: tuple[Receipt, ...] | None = None
        self._undelivered: tuple[Undelivered, ...] = ()

    def __repr__(self) -> str:
        if self._block is None:
            return "<Receipts not begun>"
        state = "open" if self._stored is None else "complete"
        if self._undelivered:
            state = f"without {len(self._undelivered)}"
        return f"<Receipts {state} acknowledged={len(self)}>"

    @property
    def undelivered(self) -> tuple[Undelivered, ...]:
        """Which records were not acknowledged when the block was left."""
        return self._undelivered

    # A sequence.

    @overload
    def __getitem__(self, index: int) -> Receipt: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Receipt, ...]: ...
    def __getitem__(self, index: int | slice) -> Receipt | tuple[Receipt, ...]:
        return self._so_far()[index]

    def __len__(self) -> int:
        return len(self._so_far())

    def __iter__(self) -> Iterator[Receipt]:
        return iter(self._so_far())

    def _so_far(self) -> tuple[Receipt, ...]:
        if self._stored is not None:
            return self._stored
        outcomes = [] if self._block is None else [one.outcome for one in self._block.all()]
        return tuple(outcome for outcome in outcomes if isinstance(outcome, Receipt))

    # A block.

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._wait(0.0 if _must_not_wait(error) else self._timeout)
        finally:
            self._end()
        self._raise(error)

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._wait_on_the_loop(0.0 if _must_not_wait(error) else self._timeout)
        finally:
            self._end()
        self._raise(error)

    def _begin(self) -> None:
        if self._block is not None:
            raise ProducerStateError(
                "these receipts were used for a block already: call handler.receipts() for each"
            )
        self._block = Block()
        self._blocks.begin(self._block)

    def _wait(self, timeout: float) -> None:
        assert self._block is not None
        deadline = monotonic() + timeout
        # A lock's methods are C: no signal handler can run on top of them.
        settled = native.Lock()
        settled.acquire()
        self._block.close(partial(_release, settled))
        if self._block.is_settled:
            return
        if self._settle is not None:
            for pause in self._looks(self._settle, timeout):
                native.sleep(pause)
        elif self._lifecycle.flush_soon():
            native.acquire(settled, max(0.0, deadline - monotonic()))
        elif timeout:
            self._lifecycle.flush(timeout)

    async def _wait_on_the_loop(self, timeout: float) -> None:
        assert self._block is not None
        import asyncio  # it is there: this runs on a loop

        loop = asyncio.get_running_loop()
        settled = loop.create_future()
        self._block.close(partial(_notify_loop, loop, settled))
        if self._settle is not None:
            for pause in self._looks(self._settle, timeout):
                await asyncio.sleep(pause)
        elif not self._block.is_settled and self._lifecycle.flush_soon() and timeout:
            await asyncio.wait([settled], timeout=timeout)

    def _looks(
        self, settle: Callable[[Iterable[ReceiptWaiter]], None], timeout: float
    ) -> Iterator[float]:
        """Settle what can be, again and again; yield the seconds until the next time."""
        assert self._block is not None
        began = monotonic()
        while True:
            settle(self._block.waiting())
            took = monotonic() - began
            if self._block.is_settled or took >= timeout:
                return
            yield min(timeout - took, max(_SHORTEST_PAUSE, min(took / 8, _LONGEST_PAUSE)))

    def _end(self) -> None:
        assert self._block is not None
        self._blocks.end(self._block)
        outcomes = [one.end(self._timeout) for one in self._block.all()]
        self._undelivered = tuple(one for one in outcomes if isinstance(one, Undelivered))
        self._stored = tuple(one for one in outcomes if isinstance(one, Receipt))
        # Tasks that outlive the block have it in their context.
        self._block.forget()

    def _raise(self, error: BaseException | None) -> None:
        if not self._undelivered:
            return
        problem = NotAcknowledged(self._account(), self._undelivered)
        if error is None:
            raise problem
        error.add_note(f"{type(problem).__name__}: {problem}")

    def _account(self) -> str:
        missing, count = self._undelivered, len(self._undelivered) + len(self)
        named = "; ".join(
            f"{_shortened(one.message)}: {one.reason}" for one in missing[:_MOST_NAMED]
        )
        more = f"; and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        return f"{len(missing)} of {count} log records were not acknowledged: {named}{more}"


def check_timeout(timeout: object) -> float:
    """Return ``timeout`` if it is a number of seconds.

    Raises:
        ConfigurationError: it is none.
    """
    if (
        not isinstance(timeout, int | float)
        or isinstance(timeout, bool)
        or not 0 <= timeout <= threading.TIMEOUT_MAX
    ):
        raise ConfigurationError(
            f"timeout={timeout!r} must be a number of seconds, 0 or more, or None for the "
            "handler's close_timeout_ms"
        )
    return timeout


def _must_not_wait(error: BaseException | None) -> bool:
    """Whether a block ends by an exception that must not be delayed: a cancellation, Ctrl-C."""
    return error is not None and not isinstance(error, Exception)


def _release(settled: threading.Lock) -> None:
    with suppress(RuntimeError):  # another thread did
        settled.release()


def _notify_loop(loop: "asyncio.AbstractEventLoop", settled: "asyncio.Future[None]") -> None:
    with suppress(RuntimeError):  # the loop is closed: no task waits any more
        loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: "asyncio.Future[None]") -> None:
    if not settled.done():
        settled.set_result(None)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_NAMED else f"{text[:_LONGEST_NAMED]}...")
