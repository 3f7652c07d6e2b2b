"""Receipts: proof in hand that what a block of the program logged is stored.

The law: whoever leaves a block knows the end of every record that was logged in it, or is told
which ends are not known.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, overload

from kiel_logging import native
from kiel_logging.errors import ConfigurationError, NotAcknowledged, ProducerStateError
from kiel_logging.handler.pipeline.awaited import Tally
from kiel_logging.handler.pipeline.tallies import Tallies
from kiel_logging.native import monotonic
from kiel_logging.records import Receipt, Undelivered

if TYPE_CHECKING:
    import asyncio

_MOST_TOLD: Final = 3
"""Records that an error's text names; its attribute has all."""

_LONGEST_TOLD: Final = 80


class Carrier(Protocol):
    """Whoever delivers."""

    def hurry(self) -> bool:
        """Send what is queued now; return whether another thread does so, to be waited for."""

    def flush(self, timeout: float) -> int:
        """Deliver it, perhaps on this thread."""


class Receipts(Sequence[Receipt]):
    """Where the brokers stored what a block logged through a handler: ``handler.receipts()``.

    Leave the block, and every record that was logged in it is acknowledged, or NotAcknowledged
    says which were not. ``async with`` waits without blocking the loop; ``with`` blocks it.

    What counts is what runs in the block's context: its own calls, those of tasks and of
    ``asyncio.to_thread`` that begin in it, those of threads that run
    ``contextvars.copy_context().run``, but of no other threads. Blocks may be nested; a record
    counts for each that it is in.

    A sequence of those that are acknowledged, in the order in which they were logged. Nothing
    changes any more when the block is left.

    Args:
        tallies: the open ones of the handler.
        carrier: delivers the handler's records.
        timeout: seconds.
    """

    def __init__(self, tallies: Tallies, carrier: Carrier, timeout: float) -> None:
        self._tallies = tallies
        self._carrier = carrier
        self._timeout = timeout
        self._tally: Tally | None = None
        self._stored: tuple[Receipt, ...] | None = None
        self._undelivered: tuple[Undelivered, ...] = ()

    def __repr__(self) -> str:
        if self._tally is None:
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
        outcomes = [] if self._tally is None else [one.outcome for one in self._tally.all()]
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
            self._wait(0.0 if _is_in_a_hurry(error) else self._timeout)
        finally:
            self._end()
        self._tell(error)

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
            await self._wait_on_the_loop(0.0 if _is_in_a_hurry(error) else self._timeout)
        finally:
            self._end()
        self._tell(error)

    def _begin(self) -> None:
        if self._tally is not None:
            raise ProducerStateError(
                "these receipts were used for a block already: call handler.receipts() for each"
            )
        self._tally = Tally()
        self._tallies.begin(self._tally)

    def _wait(self, timeout: float) -> None:
        assert self._tally is not None
        deadline = monotonic() + timeout
        # As in the hand-off: a lock's methods are C, which no signal handler can run on top of.
        settled = native.Lock()
        settled.acquire()
        self._tally.close(partial(_release, settled))
        if self._tally.is_settled:
            return
        if self._carrier.hurry():
            native.acquire(settled, max(0.0, deadline - monotonic()))
        elif timeout:
            self._carrier.flush(timeout)

    async def _wait_on_the_loop(self, timeout: float) -> None:
        assert self._tally is not None
        import asyncio  # it is there: this runs on a loop

        loop = asyncio.get_running_loop()
        settled = loop.create_future()
        self._tally.close(partial(_tell_loop, loop, settled))
        if not self._tally.is_settled and self._carrier.hurry() and timeout:
            await asyncio.wait([settled], timeout=timeout)

    def _end(self) -> None:
        assert self._tally is not None
        self._tallies.end(self._tally)
        outcomes = [one.end(self._timeout) for one in self._tally.all()]
        self._undelivered = tuple(one for one in outcomes if isinstance(one, Undelivered))
        self._stored = tuple(one for one in outcomes if isinstance(one, Receipt))
        # Tasks that outlive the block have it in their context.
        self._tally.forget()

    def _tell(self, error: BaseException | None) -> None:
        if not self._undelivered:
            return
        problem = NotAcknowledged(self._account(), self._undelivered)
        if error is None:
            raise problem
        error.add_note(f"{type(problem).__name__}: {problem}")

    def _account(self) -> str:
        missing, count = self._undelivered, len(self._undelivered) + len(self)
        told = "; ".join(f"{_shortened(one.message)}: {one.reason}" for one in missing[:_MOST_TOLD])
        more = f"; and {len(missing) - _MOST_TOLD} more" if len(missing) > _MOST_TOLD else ""
        return f"{len(missing)} of {count} log records were not acknowledged: {told}{more}"


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


def _is_in_a_hurry(error: BaseException | None) -> bool:
    """Whether a block ends by what nobody may hold up: a cancellation, Ctrl-C, the end."""
    return error is not None and not isinstance(error, Exception)


def _release(settled: threading.Lock) -> None:
    with suppress(RuntimeError):  # somebody else did
        settled.release()


def _tell_loop(loop: "asyncio.AbstractEventLoop", settled: "asyncio.Future[None]") -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: "asyncio.Future[None]") -> None:
    if not settled.done():
        settled.set_result(None)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}...")
