"""KafkaHandler: the ``logging.Handler``. Runs on logging threads and doesn't wait for brokers."""

import logging
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from kiel_logging.config.credentials import Secret, Secretive, hidden
from kiel_logging.config.options import Brokers
from kiel_logging.config.table import takes
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler import process
from kiel_logging.handler.drops import Drops
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog, describe_failure, write_to_stderr
from kiel_logging.handler.ledger import BUFFER_FULL, OUT_OF_MEMORY, Stats
from kiel_logging.handler.lifecycle import Lifecycle
from kiel_logging.handler.options import (
    HANDLER,
    HandlerKeywords,
    KeywordsBesideTopic,
    chain_of,
    handler_options,
    table_of,
)
from kiel_logging.handler.pipeline import Pipeline, Plan
from kiel_logging.handler.receipts import (
    CUT_SHORT,
    OpenBlocks,
    Receipts,
    ReceiptWaiter,
    check_timeout,
    with_waiter,
)
from kiel_logging.handler.recursion import (
    emit_aside,
    here,
    is_finalising,
    is_shipping,
)
from kiel_logging.proof.stamper import stamp_size
from kiel_logging.record.conversion import Conversion
from kiel_logging.record.fast_way import FastWay
from kiel_logging.record.item import Item
from kiel_logging.record.route import Topic

if TYPE_CHECKING:
    from kiel_logging.config.properties import Properties


class _WeakAttribute:
    """Reads an attribute of a handler; None when the handler is gone."""

    def __init__(self, owner: logging.Handler, name: str) -> None:
        self._owner = weakref.ref(owner)
        self._name = name

    def __call__(self) -> Any:
        return getattr(self._owner(), self._name, None)


class _ConvertOwn:
    """Makes items of a handler's own records, for the loop thread."""

    def __init__(self, conversions: list[Conversion], formatter: _WeakAttribute) -> None:
        self._conversions = conversions
        self._formatter = formatter

    def __call__(self, record: logging.LogRecord, topic: str, spare: int) -> Item:
        return self._conversions[0].convert(record, self._formatter(), topic, spare)


_RETURNS_RECORDS: Final = sys.version_info >= (3, 12)
"""Whether ``handle()`` returns the record, and no bool."""


def _never(_record: logging.LogRecord) -> bool:
    return False


def _update(owner: "weakref.ref[KafkaHandler]") -> None:
    """Have a handler use the pipeline that it has now."""
    if (handler := owner()) is not None:
        handler._use_pipeline()


@takes(HANDLER)
class KafkaHandler(logging.Handler):
    """Ships log records to Kafka from a dedicated thread.

    Kafka need not be reachable when the handler is made, and may go down at any time: the first
    record connects it in the background, and records are buffered within bounds while it retries.
    ``emit()`` makes bytes of the record and enqueues them; it never waits for the network and
    never raises.

    Args: ...

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
        SpoolError: there can be no files in ``spool_dir``.
    """

    def __init__(
        self,
        # Both have to be given. With defaults, the checks can report a misspelt name.
        brokers: Brokers = (),
        topic: Topic = "",
        **options: Unpack[HandlerKeywords],
    ) -> None:
        given = hidden({**options}, HANDLER)
        del options  # some tools show local variables with a traceback
        self._options = handler_options(brokers=brokers, topic=topic, **given)
        self._internal_log = InternalLog(self._options.internal_logger)
        self._flushes_on_sigterm = self._options.flush_on_sigterm
        target = self._options.fallback
        self._fallback = None if target is None else Fallback(self, target, self._internal_log)
        self._blocks = OpenBlocks()
        # The loop thread refers to these objects. It must not keep a dropped handler alive.
        own: KafkaHandler = weakref.proxy(self)
        conversions: list[Conversion] = []
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
                name=_WeakAttribute(self, "name"),
                blocks=self._blocks,
                convert_own=_ConvertOwn(conversions, _WeakAttribute(self, "formatter")),
                internal_log=self._internal_log,
                fallback=self._fallback,
                on_error=self._drops.notify,
            ),
            partial(_update, weakref.ref(self)),
        )
        self._conversion = Conversion(
            **self._options.conversion,
            max_size=self._options.max_request_size
            - stamp_size(chain=self._options.keyring is not None),
            keep_source=self._fallback is not None,
        )
        conversions.append(self._conversion)
        self._lifecycle.pipeline.check_spool()
        super().__init__(self._options.level)
        kind = type(self)
        self._filters = kind.filter is not logging.Handler.filter
        self._formats = kind.format is not logging.Handler.format
        weakref.finalize(self, self._lifecycle.close_aside).atexit = False
        self._use_pipeline()
        self._lifecycle.pipeline.recover()
        process.flush_on_sigterm(self._flushes_on_sigterm)

    @classmethod
    def from_properties(
        cls, properties: "Properties", topic: Topic, **options: Unpack[KeywordsBesideTopic]
    ) -> Self:
        """Return a handler configured as a librdkafka or Java client is; see Producer.

        In a dictConfig: ``"()": "kiel_logging.KafkaHandler.from_properties"``.

        Raises:
            ConfigurationError: a property or an option has a value it can't have.
        """
        from kiel_logging.config.properties import complete  # few need it

        table = table_of(cls)
        own = hidden({**options}, table)
        del options
        try:
            found = complete(properties, own, table)
        finally:
            del properties  # a mapping that has secrets
        return cls(topic=topic, **found)

    def __repr__(self) -> str:
        if not hasattr(self, "_name"):  # an option was wrong, and a tool shows where
            return "<KafkaHandler being made>"
        name = f" {self.name}" if self.name else ""
        brokers = ",".join(map(str, self._options.brokers))
        stats = self.stats()
        return (
            f"<KafkaHandler{name} ({logging.getLevelName(self.level)}) to {brokers}"
            f" {'closed' if self._lifecycle.pipeline.closed else 'open'} emitted={stats.emitted}"
            f" delivered={stats.delivered} dropped={stats.dropped_total} failed={stats.failed}"
            f" buffered={stats.buffered} in_flight={stats.in_flight}"
            f"{'' if self._options.spool is None else f' spooled={stats.spooled}'}>"
        )

    # On the threads that log.

    def _use_pipeline(self) -> None:
        """Have the process know this handler, and compiled code use the pipeline where it can."""
        process.register(self, self._lifecycle)
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
            if self.formatter is not None or not self._emit_fast(record):
                self._emit(record)
        except MemoryError as error:  # it is not queued, and not counted as dropped
            self._drops.fail_without_memory(record, error)

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

    def _needs_care(self, pipeline: Pipeline) -> bool:
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
        except Exception as error:
            here.depth = depth
            self._drops.fail(record, error)
            return
        finally:
            here.depth = depth
        self._put(item, record)

    def _put(self, item: Item, record: logging.LogRecord) -> None:
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
        while (dropped := self._lifecycle.pipeline.put(item)) is None:
            if not self._lifecycle.reopen():
                self._drops.refuse(record, item.waiter)
                return
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

    def flush(self, timeout: float | None = None) -> int:  # type: ignore[override] # returns more
        """Deliver what is buffered.

        Args:
            timeout: seconds; ``close_timeout_ms`` when left out.

        Returns:
            How many records are still undelivered; 0 when all that was logged before the call is
            delivered or given up; ``stats()`` has a count of each.
        """
        return self._lifecycle.flush(timeout)

    def receipts(self, timeout: float | None = None) -> Receipts:
        """Return a block, for ``with`` or ``async with``, that ends when its records are stored.

        ::

            with handler.receipts(timeout=2.0) as receipts:
                logger.info("paid")
            print(receipts[0])    # Receipt(topic, partition, offset, message, level)

        Records that go to another handler, are filtered out, or are logged while shipping do not
        count; those that a QueueHandler or MemoryHandler passes on from another context don't
        either. See Receipts.

        Args:
            timeout: seconds that leaving the block may take; ``close_timeout_ms`` when left out.
                A block that ends by Ctrl-C or a cancellation does not wait.

        Raises:
            ConfigurationError: ``required_acks`` is 0, or ``timeout`` is no number of seconds.
            NotAcknowledged: on leaving. When the block raised, its exception gets a note instead.
        """
        if self._options.required_acks == 0:
            raise ConfigurationError(
                "receipts() needs acknowledgements, and with required_acks=0 the brokers send "
                "none: set required_acks to -1 or 1"
            )
        timeout = self._options.close_timeout if timeout is None else check_timeout(timeout)
        return Receipts(self._blocks, self._lifecycle, timeout)

    def rotate_key(self, chain_key: Secretive | None = None) -> bool:
        """Have each stream continue with another key, behind a record that says so.

        That record is sealed with both keys, so the stream stays one. New streams begin with the
        new key. The change does not wait for brokers; with a spool it survives a crash. It is for
        this process alone: other processes have handlers of their own. A verifier needs both keys:
        ``kiel-logging verify --key-file OLD --key-file NEW``.

        Args:
            chain_key: the new key, in any form of the option. When left out, the file or the
                variable that the option names is read again.

        Returns:
            Whether it is another key than that of now; else nothing changes.

        Raises:
            ConfigurationError: the handler has no ``chain_key``; the new one can't be read or is
                too short; or the handler had it before.
            SpoolError: the disk does not take the note that another key will be needed.
        """
        secret = None if chain_key is None else Secret("chain_key", chain_key).check()
        del chain_key
        keyring, given = self._options.keyring, self._options.chain_key
        if keyring is None or given is None:
            raise ConfigurationError(
                "rotate_key() needs a handler with a chain_key: streams without one can't get one"
            )
        chain = chain_of(secret or given.each()[0])
        if chain.key_id == keyring.current.key_id:
            return False
        if chain.key_id in keyring:
            raise ConfigurationError(
                f"rotate_key(): the key {chain.key_id} is a former one of this handler, and a "
                "stream can't return to a key: make a new one"
            )
        pipeline = self._lifecycle.now()
        pipeline.prepare_rotation(chain.key_id)
        keyring.rotate(chain)
        pipeline.rotate()
        return True

    def close(self) -> None:
        """Deliver what is buffered within ``close_timeout_ms``, then end the loop thread.

        Undelivered records are reported on stderr. A later record opens the handler again, as it
        opens a FileHandler: with another thread, and another instance in the headers of its
        records. The end of the process closes that as well.
        """
        if self._lifecycle.close():
            process.unregister(self)
        super().close()

    def stats(self) -> Stats:
        """Return how many records the handler emitted so far, and how they ended.

        In a forked child these are the child's own.
        """
        return self._lifecycle.stats()
