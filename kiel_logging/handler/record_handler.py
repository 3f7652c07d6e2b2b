"""What KafkaHandler and SpoolHandler have in common: all that runs on logging threads."""

import copy
import logging
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from kiel_logging.handler import exits
from kiel_logging.handler.drops import Drops
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.health import Health
from kiel_logging.handler.internal_log import InternalLog, describe_failure, write_to_stderr
from kiel_logging.handler.ledger import BEFORE_SEND, BUFFER_FULL, OUT_OF_MEMORY, Stats
from kiel_logging.handler.lifecycle import AnyPipeline, Lifecycle, Plan
from kiel_logging.handler.limits import Limits
from kiel_logging.handler.receipts import (
    CUT_SHORT,
    OpenBlocks,
    ReceiptWaiter,
    with_waiter,
)
from kiel_logging.handler.record_options import HandlerOptions
from kiel_logging.handler.recursion import (
    as_shipping,
    emit_aside,
    here,
    is_finalising,
    is_shipping,
)
from kiel_logging.handler.sigterm import flush_on_sigterm
from kiel_logging.native import monotonic
from kiel_logging.proof.stamper import stamp_size
from kiel_logging.record.conversion import Conversion, LeftOut
from kiel_logging.record.fast_way import FastWay
from kiel_logging.record.item import Item

REPEATS: Final = "repeats"
"""The field that says how many records were left out that repeat this one."""

_RETURNS_RECORDS: Final = sys.version_info >= (3, 12)
"""Whether ``handle()`` returns the record, and no bool."""


def _never(_record: logging.LogRecord) -> bool:
    return False


def _update(owner: "weakref.ref[RecordHandler]") -> None:
    """Have a handler use the pipeline that it has now."""
    if (handler := owner()) is not None:
        handler._use_pipeline()


class RecordHandler(logging.Handler):
    """The part of the handlers that runs on logging threads: a record becomes an item, and goes
    into the pipeline that the handler has now, or is dropped and counted.

    A subclass calls ``_set_up()`` in its ``__init__``.
    """

    _options: HandlerOptions

    def _set_up(self, options: HandlerOptions, make: Callable[[Plan], AnyPipeline]) -> None:
        """Make all parts.

        Args:
            options: checked.
            make: makes the first pipeline.

        Raises:
            ConfigurationError: names the option, the value and what is allowed.
            SpoolError: there can be no files in ``spool_dir``.
        """
        self._options = options
        self._internal_log = InternalLog(self._options.internal_logger)
        target = self._options.fallback
        self._fallback = None if target is None else Fallback(self, target, self._internal_log)
        self._blocks = OpenBlocks()
        self._conversion = conversion = Conversion(
            **self._options.conversion,
            max_size=self._options.max_request_size
            - stamp_size(chain=self._options.keyring is not None),
            keep_source=self._fallback is not None,
        )
        # The loop thread refers to these objects. It must not keep a dropped handler alive.
        reference: weakref.ref[RecordHandler] = weakref.ref(self)
        own: RecordHandler = weakref.proxy(self)

        def convert_own(record: logging.LogRecord, topic: str, spare: int) -> Item:
            formatter = getattr(reference(), "formatter", None)
            return conversion.convert(record, formatter, topic, spare)

        self._drops = Drops(
            own,
            pipeline=lambda: own._lifecycle.now(),
            topic_of=lambda record: own._topic_of(record),
            blocks=self._blocks,
            fallback=self._fallback,
            internal_log=self._internal_log,
            on_error=self._options.on_error,
        )
        self._lifecycle = Lifecycle(
            Plan(
                options=self._options,
                name=lambda: getattr(reference(), "name", None),
                blocks=self._blocks,
                convert_own=convert_own,
                internal_log=self._internal_log,
                fallback=self._fallback,
                on_error=self._drops.notify,
            ),
            partial(_update, reference),
            make,
        )
        self._lifecycle.pipeline.check_spool()
        super().__init__(self._options.level)
        kind = type(self)
        self._filters = kind.filter is not logging.Handler.filter
        self._formats = kind.format is not logging.Handler.format
        weakref.finalize(self, self._lifecycle.close_aside).atexit = False
        self._use_pipeline()
        self._lifecycle.pipeline.recover()
        flush_on_sigterm(options.flush_on_sigterm)

    # On the threads that log.

    def _use_pipeline(self) -> None:
        """Have the process know this handler, and compiled code use the pipeline where it can."""
        exits.register(self, self._lifecycle)
        limits = self._options.limits
        self._limits = None if limits is None else Limits(limits)
        self._emit_fast: Callable[[logging.LogRecord], bool] = _never
        self._convert_fast: Callable[[logging.LogRecord], Item | None] | None = None
        options, pipeline = self._conversion.fast, self._lifecycle.pipeline
        buffer = pipeline.buffer
        if options is None or self._formats:
            return
        topic = options["topic"]
        tail = pipeline.tail(topic) if isinstance(topic, str) else None
        fast = FastWay(
            **options,
            here=here,
            blocks=self._blocks,
            counts=buffer.counts,
            queue=buffer.quick_queue,
            wake=buffer.wake_for,
            tail=tail,
        )
        self._convert_fast = fast.convert
        if tail is not None or buffer.quick_queue is not None:
            self._emit_fast = fast.emit

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit ``record``, without the handler's lock.

        The buffer has another lock, held for an instant. ``logging.shutdown()`` holds the
        handler's for all the time that ``flush()`` takes: threads that log meanwhile, the loop
        thread included, would wait for it.
        """
        passed: Any = record
        if self._filters or self.filters:
            passed = self.filter(record)
            if isinstance(passed, logging.LogRecord):  # Python 3.12: a filter may replace it
                record = passed
        if passed:
            self.emit(record)
        return passed if _RETURNS_RECORDS else bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Enqueue ``record`` for the loop thread; never raises, never waits for the network."""
        try:
            # Nearly every record is done with the one compiled call. It looks at everything that
            # can change, except for the formatter, which a program may set on a copy as well.
            if self._limits is not None:
                self._emit_limited(record)
            elif self.formatter is not None or not self._emit_fast(record):
                self._emit(record)
        except MemoryError as error:  # it is not queued, and not counted as dropped
            self._drops.fail_without_memory(record, error)

    def _emit_limited(self, record: logging.LogRecord) -> None:
        # A closed pipeline could not report what is left out; the next one can. A record that
        # can't be judged without its key is judged when that is known, in _put(). A forked child
        # gets limits of its own with its pipeline: a thread of the parent may hold the others'.
        counts = self._lifecycle.now().buffer.counts
        limits = self._limits
        if limits is None or here.depth or counts.closed or limits.need_key(record):
            self._emit(record)
        elif (allowed := self._judge(record, limits, None)) is not None and (
            self.formatter is not None or not self._emit_fast(allowed)
        ):
            self._emit(allowed)

    def _judge(
        self, record: logging.LogRecord, limits: Limits, key: Any
    ) -> logging.LogRecord | None:
        """Return ``record``, or a copy that also says how many that repeat it were left out; None
        if it is left out itself, and counted."""
        reason, repeats = limits.judge(record, key, monotonic())
        pipeline = self._lifecycle.pipeline
        if reason is not None:
            self._drops.drop(record, reason)
            return None
        if pipeline.ledger.has_news:
            as_shipping(pipeline.report_losses)
        if repeats and REPEATS not in vars(record):
            with suppress(Exception):  # of a record of the program's own kind
                record = copy.copy(record)
                setattr(record, REPEATS, repeats)
        return record

    def _emit(self, record: logging.LogRecord) -> None:
        pipeline = self._lifecycle.now()
        counts = pipeline.buffer.counts
        if here.depth or counts.closed or (counts.crowded and self._needs_care(pipeline)):
            self._emit_with_care(record)
            return
        item = None
        if self._convert_fast is not None and self.formatter is None:
            item = self._convert_fast(record)
        if item is None:
            self._convert_and_put(record)
        else:
            self._put(item, record)

    @property
    def _formatter(self) -> Any:
        """The formatter of messages: the handler itself, if its class overrides ``format()``."""
        return self if self._formats else self.formatter

    def _needs_care(self, pipeline: AnyPipeline) -> bool:
        pipeline.revive()
        return pipeline.buffer.will_drop()

    def _emit_with_care(self, record: logging.LogRecord) -> None:
        if is_finalising():
            emit_aside(self, record)
        elif is_shipping():
            self._internal_log.divert(record)
        elif self._lifecycle.pipeline.closed and not self._lifecycle.reopen():
            self._drops.refuse(record)
        elif self._lifecycle.pipeline.buffer.will_drop():
            self._drops.drop(record, BUFFER_FULL)
        else:
            self._convert_and_put(record)

    def _convert_and_put(self, record: logging.LogRecord) -> None:
        depth, here.depth = here.depth, here.depth + 1
        try:
            item = self._conversion.convert(record, self._formatter)
        except LeftOut:
            here.depth = depth
            self._drops.drop(record, BEFORE_SEND)
            return
        except Exception as error:
            here.depth = depth
            self._drops.fail(record, error)
            return
        finally:
            here.depth = depth
        self._put(item, record)

    def _put(self, item: Item, record: logging.LogRecord) -> None:
        limits = self._limits
        if limits is not None and limits.need_key(record):
            allowed = self._judge(record, limits, item.key)
            if allowed is None:
                return
            if allowed is not record:
                with suppress(Exception):  # of the program's code: the item is good as it is
                    item = as_shipping(self._conversion.convert, allowed, self._formatter)
        if self._blocks and (waiter := self._blocks.waiter(record)) is not None:
            self._put_with_waiter(item, record, waiter)
        else:
            self._put_where_it_is_open(item, record)

    def _put_with_waiter(
        self, item: Item, record: logging.LogRecord, waiter: ReceiptWaiter
    ) -> None:
        try:
            waiter.begin()
            try:
                self._put_where_it_is_open(with_waiter(item, waiter), record)
            except MemoryError as error:
                self._drops.drop(record, OUT_OF_MEMORY, error, waiter)
                return
            if waiter.is_urgent:
                self._lifecycle.pipeline.flush_soon()
        except BaseException as error:
            waiter.lost(CUT_SHORT, error)
            raise

    def _put_where_it_is_open(self, item: Item, record: logging.LogRecord) -> None:
        """Enqueue ``item`` in the pipeline, or in the next one if another thread closes it."""
        dropped: list[Item] = []
        try:
            while not self._lifecycle.pipeline.put(item, dropped):
                if not self._lifecycle.reopen():
                    self._drops.refuse(record, item.waiter)
                    return
        finally:  # memory may run out when some made room already
            if dropped:
                self._drops.account_for(dropped)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # logging's name
        """Report what went wrong with ``record``, as logging does, but at most once in 10 s."""
        if logging.raiseExceptions and self._internal_log.may_complain(
            "a log record could not be converted"
        ):
            write_to_stderr(describe_failure(self._conversion.as_seen(record)))

    def _topic_of(self, record: logging.LogRecord) -> str:
        return self._conversion.topic(record)

    # At leisure.

    def close(self) -> None:
        """Deliver what is buffered within ``close_timeout_ms``, then end the loop thread. A
        SpoolHandler ends its streams, and leaves them to the shipper.

        Undelivered records are reported on stderr. A later record opens the handler again, as it
        opens a FileHandler: with another thread, and another instance in the headers of its
        records. The end of the process closes that as well.
        """
        if self._lifecycle.close():
            exits.unregister(self)
        super().close()

    def stats(self) -> Stats:
        """Return how many records the handler emitted so far, and how they ended.

        In a forked child these are the child's own.
        """
        return self._lifecycle.stats()

    def health(self) -> Health:
        """Return whether records get to Kafka, or to disk, in time: "ok", "degraded" or "failing",
        and why; for probes of an orchestrator, and dashboards. It waits for nothing."""
        return self._lifecycle.now().health()
