"""The life of a handler: opened, closed, opened again, forked, and ended with its process.

The law: a handler has one pipeline at a time, and each of its calls uses the newest one of this
process. A ``dictConfig`` closes all handlers, also those that are still in use; so the next record
opens a closed handler again, with another pipeline. A forked child gets another one.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kiel_logging.diagnostics import settle_levels
from kiel_logging.handler import exits, forks, loading
from kiel_logging.handler.events import ConvertOwn
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog, write_to_stderr
from kiel_logging.handler.ledger import OnError, Stats
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.record_options import HandlerOptions
from kiel_logging.handler.recursion import as_shipping, forget_aside, is_shipping, settle_aside
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.handler.pipeline import Pipeline
    from kiel_logging.handler.spool.append_pipeline import AppendPipeline

AnyPipeline: TypeAlias = "Pipeline | AppendPipeline"
"""Where a handler's items go."""


class Plan(NamedTuple):
    """Everything that the pipelines of a handler are made from, one after another."""

    options: HandlerOptions
    name: Callable[[], str | None]
    blocks: OpenBlocks
    convert_own: ConvertOwn
    internal_log: InternalLog
    fallback: Fallback | None
    on_error: OnError


class _Patience(NamedTuple):
    """Until when, in monotonic seconds, a process that ends waits for what a pipeline had been
    given."""

    pipeline: AnyPipeline
    emitted: int
    deadline: float


class Lifecycle:
    """The pipelines of one handler, one after another. It has no reference to the handler.

    Args:
        plan: what pipelines are made from.
        changed: called when another pipeline took the place of the one before.
        make: makes the first one.

    Attributes:
        pipeline: the newest. Use ``now()`` wherever this may be a forked child.
        flushes_on_sigterm: whether SIGTERM delivers what is buffered.
    """

    def __init__(
        self, plan: Plan, changed: Callable[[], None], make: Callable[[Plan], AnyPipeline]
    ) -> None:
        self.pipeline = make(plan)
        self.flushes_on_sigterm = plan.options.flush_on_sigterm is not False
        self._plan = plan
        self._close_timeout = plan.options.close_timeout
        self._changed = changed
        self._abandoned: dict[AnyPipeline, object] = {}
        self._patience: _Patience | None = None
        self._waiting_for: int | None = None

    def __repr__(self) -> str:
        return f"<Lifecycle {self.pipeline!r}>"

    def now(self) -> AnyPipeline:
        """Return the pipeline; a new one in a child whose fork ran no hook, or none yet."""
        if self.pipeline.process != os.getpid():
            self.reset()
        return self.pipeline

    def reopen(self) -> bool:
        """Replace a closed pipeline by an open one.

        Several threads may do so at the same time, without a lock, for a thread may have logging's
        lock here. A pipeline has one successor, whichever thread makes it.

        Returns:
            False at the end of the process, when nothing more can be delivered.
        """
        if exits.is_over():
            return False
        while (closed := self.pipeline).closed:
            follow: Callable[[], AnyPipeline] = closed.successor
            self.pipeline = as_shipping(follow)
        self._changed()
        return True

    # Delivery.

    def flush(self, timeout: float | None = None) -> int:
        """Deliver what is buffered within ``timeout`` seconds, by default ``close_timeout_ms``;
        return how many records are left."""
        settle_levels()
        settle_aside(self._close_timeout if timeout is None else timeout)
        if timeout is not None:
            return self.now().flush(timeout)
        return self._deliver(self.now().flush)

    def finish(self, *, last: bool) -> int:
        """Flush, and write into each stream what it lacks: the process may end without ``close()``.

        Streams with a chain also get a ``pause`` record or, if this is certainly the ``last`` call
        of the process, an ``end`` record.
        """
        return self._deliver(partial(self.now().finish, last=last))

    def _deliver(self, flush: Callable[[float], int]) -> int:
        pipeline, until = self.pipeline, monotonic() + self._time_left()
        emitted, ending = pipeline.ledger.emitted, self._is_ending
        try:
            undelivered = flush(max(0.0, until - monotonic()))
        except KeyboardInterrupt:
            if not ending:
                raise
            exits.give_up()
            undelivered, until = pipeline.ledger.undelivered, 0.0
        if (undelivered or monotonic() >= until) and not is_shipping():
            # logging.shutdown() flushes and then closes. After a flush that gave up, with nothing
            # logged since, close() must not wait as long again. Code on the loop thread can't wait.
            self._patience = _Patience(pipeline, emitted, monotonic())
        return undelivered

    def flush_soon(self) -> bool:
        """Send what is buffered without waiting; return whether another thread does so, which can
        be waited for."""
        return self.now().flush_soon()

    def stats(self) -> Stats:
        """Return what became of all records since the handler was made, in this process."""
        fallback = self._plan.fallback
        return replace(
            self.now().stats_of_all(),
            fallback=0 if fallback is None else fallback.taken,
            diverted=self._plan.internal_log.diverted,
        )

    # The end.

    @property
    def _is_ending(self) -> bool:
        """Whether the process ends, and nothing was logged since that began."""
        pipeline = self.pipeline
        return self._patience is not None and self._patience[:2] == (
            pipeline,
            pipeline.ledger.emitted,
        )

    def _time_left(self) -> float:
        now = monotonic()
        deadline = min(now + self._close_timeout, exits.deadline())
        if self._patience is not None and self._is_ending:
            deadline = min(self._patience.deadline, deadline)
        return max(0.0, deadline - now)

    def start_shutdown(self) -> float:
        """Begin to deliver what is buffered, as the process is about to end; return until when, in
        monotonic seconds.

        All handlers do so at the same time, so that together they take no longer than one.
        """
        settle_aside(self._close_timeout)
        pipeline, deadline = self.now(), monotonic() + self._close_timeout
        self._patience = _Patience(pipeline, pipeline.ledger.emitted, deadline)
        self._waiting_for = pipeline.ledger.undelivered
        pipeline.start_shutdown(self._close_timeout, self._report_wait)
        return deadline

    def _report_wait(self, left: float) -> None:
        """Report, once, that the program waits, if the brokers took nothing in the last second."""
        before, now = self._waiting_for, self.pipeline.ledger.undelivered
        if before is None or now < before:
            self._waiting_for = None if before is None else now
            return
        self._waiting_for = None
        write_to_stderr(
            f"kiel_logging: the program ends when the brokers have {now} "
            f"more log records, or in {left:.0f} s; Ctrl-C gives them up"
        )

    def close(self) -> bool:
        """Deliver what is buffered, end the pipeline, and report what did not reach Kafka.

        Returns:
            Whether this call closed it, and no other pipeline took its place.
        """
        settle_levels()
        settle_aside(self._close_timeout)
        pipeline, ending = self.now(), self._is_ending
        try:
            is_first = pipeline.close(self._time_left())
        except KeyboardInterrupt:
            if not ending:
                raise
            exits.give_up()
            is_first = True
        if is_first:
            pipeline.report_undelivered()
        return is_first and self.pipeline is pipeline

    def close_aside(self) -> None:
        """Close the pipeline on another thread: no reference to the handler is left.

        The garbage collector calls this on top of any line of any thread, so it takes no lock.
        """
        pipeline = self.pipeline
        if pipeline.process == os.getpid() and pipeline.is_used and not pipeline.closed:
            exits.close_aside(pipeline, self._close_timeout)

    # A fork.

    def reset(self) -> None:
        """Begin with an empty buffer and nothing counted, in a forked child that did not yet.

        A hook that logs may run before ours, so records may have been logged in the child already.
        """
        parents = self.pipeline
        if parents.process == os.getpid():
            return
        loading.reset()
        forget_aside()
        forks.abandon_runners()
        this_call = object()
        if self._abandoned.setdefault(parents, this_call) is this_call:
            # Else another thread does so, or did, or a signal handler on top of this.
            parents.abandon()
            self._plan.blocks.reset()
            self._patience = None
            self._plan.internal_log.diverted = 0
            if self._plan.fallback is not None:
                self._plan.fallback.taken = 0
        self.pipeline = parents.successor()
        self._changed()
