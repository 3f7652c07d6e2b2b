"""KafkaHandler: the ``logging.Handler``. Runs on the threads that log; waits for nothing there."""

import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from kiel_logging.config.credentials import Secretive, hidden
from kiel_logging.config.options import (
    DEFAULT_MAX_REQUEST_SIZE,
    Brokers,
    KeyMaker,
    check_whole,
    parse_brokers,
)
from kiel_logging.config.table import FUNCTION
from kiel_logging.diagnostics import settle_levels
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler import loading, process
from kiel_logging.handler.buffer import BUFFER_FULL, DROP_NEWEST, OUT_OF_MEMORY
from kiel_logging.handler.drops import Drops
from kiel_logging.handler.fallback import Fallback, fallback_target
from kiel_logging.handler.internal_log import InternalLog, describe_failure, write_to_stderr
from kiel_logging.handler.ledger import OnError, Stats
from kiel_logging.handler.option_checks import (
    check_flag,
    check_positive,
    hide,
    level_choice,
    logger_choice,
    overflow_choice,
    parameters_of,
    refuse_unknown,
)
from kiel_logging.handler.pipeline import Pipeline, Plan
from kiel_logging.handler.quick_handle import quick_handle
from kiel_logging.handler.receipts import (
    CUT_SHORT,
    OpenBlocks,
    Receipts,
    ReceiptWaiter,
    check_timeout,
    with_waiter,
)
from kiel_logging.handler.recursion import as_shipping, here, is_shipping
from kiel_logging.handler.sealing import chain_choice
from kiel_logging.handler.spool.options import DEFAULT_MAX_BYTES, NORMAL, spool_options
from kiel_logging.native import monotonic
from kiel_logging.partitioners import Partitioner
from kiel_logging.proof.stamper import stamp_size
from kiel_logging.record.conversion import Conversion
from kiel_logging.record.item import Item
from kiel_logging.record.topic_choice import Topic
from kiel_logging.record.value_choice import Format
from kiel_logging.serializers import Serializer

if TYPE_CHECKING:
    from kiel_logging.config.properties import Properties

DEFAULT_BATCH_SIZE: Final = 1_000
DEFAULT_LINGER_MS: Final = 50.0
DEFAULT_ACK_TIMEOUT_MS: Final = 30_000
DEFAULT_BUFFER_RECORDS: Final = 100_000
DEFAULT_BUFFER_MEMORY: Final = 64 * 1024 * 1024
SMALLEST_MEMORY: Final = 4096
"""Room for one record at least, and for what is kept with it."""

DEFAULT_BLOCK_TIMEOUT_MS: Final = 5_000.0
DEFAULT_CLOSE_TIMEOUT_MS: Final = 10_000.0
DEFAULT_DELIVERY_TIMEOUT_MS: Final = 2**31 - 1
"""No limit: a record leaves by being delivered, by the overflow policy, or by ``close()``."""


class _Patience(NamedTuple):
    """Until when a process that ends waits for what a pipeline was given so far; monotonic
    seconds."""

    pipeline: Pipeline
    emitted: int
    deadline: float


class _WeakAttribute:
    """Returns an attribute of a handler, None when there is no handler any more."""

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


def _end(current: list[Pipeline], timeout: float) -> None:
    """Deliver, beside the program, what a handler has that nothing refers to any more.

    The garbage collector calls this on top of any line of any thread: it takes no lock.
    """
    (pipeline,) = current
    if pipeline.process == os.getpid() and pipeline.is_used and not pipeline.closed:
        process.close_aside(pipeline, timeout)


class KafkaHandler(logging.Handler):
    """Ships log records to Kafka from a thread of its own.

    Making it neither blocks nor fails because Kafka is away: the first record connects it in the
    background, and it goes on trying while records are buffered within bounds. ``emit()`` makes
    bytes of the record and hands them over; it never waits for the network and never raises.

    Args:
        brokers: bootstrap brokers: a list of ``"host"`` or ``"host:port"`` (9092 when left out,
            IPv6 in brackets), or one comma-separated string.
        topic: a name, a template over the LogRecord's attributes (``"logs.{levelname}"``), or a
            callable that takes the LogRecord.
        level: the lowest level that is shipped.
        key_field: the field that a record's key is taken from: one of its dict, an extra's, or a
            LogRecord's attribute; a dotted path reaches into nested extras. Records without it
            have no key.
        key_maker: makes the key from the record's dict, in place of ``key_field``.
        headers: record headers: name -> field, as for ``key_field``.
        partitioner: chooses the partition: a name, see Producer, or a callable
            ``(key, partitions) -> partition``. With "murmur2" records of one key stay in order.
        format: what the value is: "json" (the fields), "ecs" (Elastic Common Schema), "otel"
            (OpenTelemetry's log data model, as OTLP/JSON), "gelf", "text" (what another handler
            with this handler's Formatter writes), or a callable that takes the fields and the
            LogRecord and returns a mapping, str or bytes.
        serializer: takes what the format made, returns str or bytes; JSON by default.
        context: fields from the surroundings of the call: a callable that returns a mapping, or
            names -> ContextVars.
        fields: static fields for every record.
        rename: old names of fields -> new ones.
        exclude: names of fields that are left out; a dotted path reaches into nested ones.
        redact: names of fields whose values are hidden, at any depth, in everything that is made of
            a record. An object in which no names can be found is shown by its type alone.
        compression: the codec: "snappy", "gzip", "lz4" (extra `lz4`), "zstd" (extra `zstd`) or
            None.
        batch_size: how many records are worth sending at once.
        linger_ms: milliseconds after which records are sent although the batch isn't full.
        required_acks: when a record counts as delivered: -1 (all in-sync replicas have it), 1 (the
            leader has it) or 0 (it was sent).
        ack_timeout: milliseconds that the leader may wait for the other replicas.
        delivery_timeout_ms: milliseconds after which a record is given up.
        buffer_records: most records that wait to be delivered.
        buffer_memory: most bytes of memory for records that wait to be delivered.
        overflow: what gives way when there are more: "drop_newest", "drop_oldest", "drop_lowest"
            (DEBUG before INFO before WARNING...), or "block", which lets the caller wait.
        block_timeout_ms: milliseconds that the caller waits with "block", before its record is
            dropped.
        fallback: another handler, or the name of one, that gets the LogRecords which did not
            reach Kafka. It is called on the thread that logs (dropped) or on the loop thread
            (given up).
        on_error: called with an exception and a number of records whenever records are lost:
            at once, or for a full buffer at most every 10 s. Called with 0 records when the
            brokers reject records for now, which wait, and once a minute while that lasts.
        internal_logger: a logger, or its name, for what was logged while shipping and for what the
            handler has to say; stderr by default.
        spool_dir: a directory, on a local disk, for records that memory can't hold, that the
            brokers don't take in time, or that are left at the end. The next process with this
            directory sends them. Only its user may write to it.
        spool: "overflow", or "always": each record is in a file before its logging call returns,
            so that a SIGKILL loses nothing.
        spool_max_bytes: most bytes that this handler has on disk and the brokers have not
            acknowledged; None for no bound.
        spool_synchronous: "normal", or "full": with spool="always", each logging call waits until
            its record would survive a power cut.
        chain: whether each record also bears a digest of itself and of the one before it, so that
            ``kiel-logging verify`` finds what was taken out or changed; and whether the streams
            have a first and a last word.
        chain_key: makes the digests such that nobody without it can compute them; 16 bytes or
            more, as a str, ``{"env": name}`` or ``{"file": path}``.
        flush_on_sigterm: whether SIGTERM delivers what is buffered before it does what it did. By
            default, None, it does where it would end the process at once, which loses records: a
            program that handles the signal ends in its own way.
        close_timeout_ms: milliseconds that ``close()``, or a ``flush()`` without a timeout, may
            take to deliver what is buffered.
        producer_options: whatever else Producer takes.

    Attributes:
        fallback: what ``fallback`` stands for.
        flushes_on_sigterm: as given.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
        SpoolError: there can be no files in ``spool_dir``.
    """

    def __init__(
        self,
        # Both have to be given. A default lets the checks say what a misspelt one is called.
        brokers: Brokers = (),
        topic: Topic = "",
        *,
        level: int | str = logging.NOTSET,
        key_field: str | None = None,
        key_maker: KeyMaker | None = None,
        headers: Mapping[str, str] | None = None,
        partitioner: str | Partitioner | None = "murmur2",
        format: str | Format = "json",  # noqa: A002
        serializer: Serializer | None = None,
        context: Callable[[], Mapping[str, Any]] | Mapping[str, ContextVar[Any]] | None = None,
        fields: Mapping[str, Any] | None = None,
        rename: Mapping[str, str] | None = None,
        exclude: Iterable[str] | None = None,
        redact: Iterable[str] | None = None,
        compression: str | None = "snappy",
        batch_size: int = DEFAULT_BATCH_SIZE,
        linger_ms: float = DEFAULT_LINGER_MS,
        required_acks: int = -1,
        ack_timeout: int = DEFAULT_ACK_TIMEOUT_MS,
        delivery_timeout_ms: float = DEFAULT_DELIVERY_TIMEOUT_MS,
        buffer_records: int = DEFAULT_BUFFER_RECORDS,
        buffer_memory: int = DEFAULT_BUFFER_MEMORY,
        overflow: str = DROP_NEWEST,
        block_timeout_ms: float = DEFAULT_BLOCK_TIMEOUT_MS,
        fallback: logging.Handler | str | None = None,
        on_error: OnError | None = None,
        internal_logger: logging.Logger | str | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        spool: str | None = None,
        spool_max_bytes: int | None = DEFAULT_MAX_BYTES,
        spool_synchronous: str = NORMAL,
        chain: bool = False,
        chain_key: Secretive | None = None,
        flush_on_sigterm: bool | None = None,
        close_timeout_ms: float = DEFAULT_CLOSE_TIMEOUT_MS,
        **producer_options: Any,
    ) -> None:
        secrets = hidden({"chain_key": chain_key})
        del chain_key
        producer_options = hide(producer_options, KafkaHandler)
        refuse_unknown(producer_options, KafkaHandler)
        self._close_timeout = check_positive("close_timeout_ms", close_timeout_ms) / 1000
        self._internal_log = InternalLog(logger_choice(internal_logger))
        self.flushes_on_sigterm = (
            None if flush_on_sigterm is None else check_flag("flush_on_sigterm", flush_on_sigterm)
        )
        target = fallback_target(fallback)
        self.fallback = None if target is None else Fallback(self, target, self._internal_log)
        self._blocks = OpenBlocks()
        # The loop thread has what is made here: a handler that the program drops must end it.
        own: KafkaHandler = weakref.proxy(self)
        conversions: list[Conversion] = []
        self._drops = Drops(
            own,
            pipeline=lambda: own._pipeline_now(),
            topic_of=lambda record: own._topic_of(record),
            blocks=self._blocks,
            fallback=self.fallback,
            internal_log=self._internal_log,
            notify=FUNCTION.check("on_error", on_error),
        )
        self._plan = Plan(
            buffer_records=check_whole("buffer_records", buffer_records, least=1),
            buffer_memory=check_whole("buffer_memory", buffer_memory, least=SMALLEST_MEMORY),
            batch_size=check_whole("batch_size", batch_size, least=1),
            overflow=overflow_choice(overflow),
            block_timeout=check_positive("block_timeout_ms", block_timeout_ms) / 1000,
            producer_options={
                "brokers": brokers,
                "partitioner": "murmur2" if partitioner is None else partitioner,
                "compression": compression,
                "batch_size": batch_size,
                "linger_ms": linger_ms,
                "required_acks": required_acks,
                "ack_timeout": ack_timeout,
                "delivery_timeout_ms": delivery_timeout_ms,
                **producer_options,
            },
            chain=chain_choice(chain, secrets["chain_key"]),
            name=_WeakAttribute(self, "name"),
            blocks=self._blocks,
            convert_own=_ConvertOwn(conversions, _WeakAttribute(self, "formatter")),
            internal_log=self._internal_log,
            fallback=self.fallback,
            on_error=self._drops.tell_on_error,
            spool=spool_options(
                spool_dir,
                spool,
                spool_max_bytes,
                spool_synchronous,
                delivery_timeout_ms=delivery_timeout_ms,
                required_acks=required_acks,
            ),
        )
        self._pipeline = Pipeline(self._plan)
        self._conversion = Conversion(
            topic=topic,
            key_field=key_field,
            key_maker=key_maker,
            headers=headers,
            format=format,
            serializer=serializer,
            context=context,
            fields=fields,
            rename=rename,
            exclude=exclude,
            redact=redact,
            max_size=producer_options.get("max_request_size", DEFAULT_MAX_REQUEST_SIZE)
            - stamp_size(chain=chain),
            keep_source=self.fallback is not None,
        )
        conversions.append(self._conversion)
        self._convert_at_once = self._conversion.convert_at_once
        if self._plan.spool is not None and self._plan.spool.always:
            self._convert_at_once = self._conversion.convert_quick
        level = level_choice(level)
        self._pipeline.check_spool()
        super().__init__(level)
        self._patience: _Patience | None = None
        self._current = [self._pipeline]
        weakref.finalize(self, _end, self._current, self._close_timeout).atexit = False
        self._take_the_quick_way()
        process.register(self)
        self._pipeline.send_what_is_left()
        process.flush_on_sigterm(self.flushes_on_sigterm)

    @classmethod
    def from_properties(cls, properties: "Properties", topic: Topic, **options: Any) -> Self:
        """Return a handler configured as a librdkafka or Java client is; see Producer.

        In a dictConfig: ``"()": "kiel_logging.KafkaHandler.from_properties"``.

        Raises:
            ConfigurationError: a property or an option has a value it can't have.
        """
        from kiel_logging.config.properties import complete  # few need it

        options = hide(options, cls)
        try:
            options = complete(properties, options, parameters_of(cls))
        finally:
            del properties  # a mapping that has secrets
        return cls(topic=topic, **options)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: its ``handle()`` is its own."""
        return {name: value for name, value in self.__dict__.items() if name != "handle"}

    def __repr__(self) -> str:
        if not hasattr(self, "_patience"):  # an option was wrong, and a tool shows where
            return "<KafkaHandler being made>"
        name = f" {self.name}" if self.name else ""
        brokers = ",".join(map(str, parse_brokers(self._plan.producer_options["brokers"])))
        stats = self.stats()
        return (
            f"<KafkaHandler{name} ({logging.getLevelName(self.level)}) to {brokers}"
            f" {'closed' if self._pipeline.closed else 'open'} emitted={stats.emitted}"
            f" delivered={stats.delivered} dropped={stats.dropped_total} failed={stats.failed}"
            f" buffered={stats.buffered} in_flight={stats.in_flight}"
            f"{'' if self._plan.spool is None else f' spooled={stats.spooled}'}>"
        )

    # On the threads that log.

    def _take_the_quick_way(self) -> None:
        """Have C handle records, where it can."""
        handle = quick_handle(
            self,
            KafkaHandler,
            settings=self._conversion.settings_in_c,
            tallies=self._blocks,
            pipeline=self._pipeline,
        )
        if handle is not None:
            self.__dict__["handle"] = handle

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit ``record``, without the handler's lock.

        The buffer has a lock of its own, held for an instant. The handler's is held by
        ``logging.shutdown()`` for all the time that ``flush()`` takes: whoever logs meanwhile,
        the loop thread included, would wait for it.
        """
        if not self.filters:
            self.emit(record)
            return record if sys.version_info >= (3, 12) else True
        passed: Any = self.filter(record)
        if isinstance(passed, logging.LogRecord):  # Python 3.12: a filter may replace it
            record = passed
        if passed:
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Hand ``record`` over to the loop thread; never raises, never waits for the network."""
        try:
            self._emit(record)
        except MemoryError as error:  # it is neither queued nor counted as dropped
            self._drops.have_no_memory(record, error)

    def _emit(self, record: logging.LogRecord) -> None:
        pipeline = self._pipeline_now()
        counts = pipeline.buffer.counts
        if here.depth or counts.closed or (counts.crowded and self._needs_care(pipeline)):
            self._emit_with_care(record)
            return
        # The way of nearly every record. It runs no code of the program's, so nothing is logged
        # on it, and nobody has to know that this thread is shipping.
        item = None
        if self._convert_at_once is not None and self.formatter is None:
            item = self._convert_at_once(record)
        if item is None:
            self._convert_and_put(record)
        else:
            self._put(item, record)

    def _needs_care(self, pipeline: Pipeline) -> bool:
        pipeline.revive()
        return pipeline.buffer.will_drop()

    def _emit_with_care(self, record: logging.LogRecord) -> None:
        if is_shipping():
            self._internal_log.divert(record)
        elif self._pipeline.closed and not self._open_again():
            self._drops.refuse(record)
        elif self._pipeline.buffer.will_drop():
            self._drops.drop(record, BUFFER_FULL)
        else:
            self._convert_and_put(record)

    def _convert_and_put(self, record: logging.LogRecord) -> None:
        depth, here.depth = here.depth, here.depth + 1
        try:
            item = self._conversion.convert(record, self.formatter)
        except Exception as error:
            here.depth = depth
            self._drops.take(record, error)
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
                self._pipeline.hurry()
        except BaseException as error:
            waiter.lost(CUT_SHORT, error)
            raise

    def _put_where_it_is_open(self, item: Item, record: logging.LogRecord) -> None:
        """Hand ``item`` to the pipeline, or to the next one if it is closed by another thread."""
        while (dropped := self._pipeline.put(item)) is None:
            if not self._open_again():
                self._drops.refuse(record, item.waiter)
                return
        if dropped:
            self._drops.account_for(dropped)

    def _open_again(self) -> bool:
        """Have a pipeline that is open, though ``close()`` was called: a ``dictConfig`` closes all
        handlers of the process, those that are still in use too.

        Threads may do so at the same time, without a lock, which logging's own may be waited for
        on top of: a pipeline has one successor, whoever makes it.

        Returns:
            False when the process is at its end, and nothing more can be delivered.
        """
        if process.is_over():
            return False
        while (closed := self._pipeline).closed:
            self._pipeline = self._current[0] = as_shipping(closed.successor)
        self._take_the_quick_way()
        process.register(self)
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # logging's name
        """Report what went wrong with ``record``, as logging does, but at most once in 10 s."""
        if logging.raiseExceptions and self._internal_log.may_complain(
            "a log record could not be converted"
        ):
            write_to_stderr(describe_failure(self._conversion.as_seen(record)))

    def _pipeline_now(self) -> Pipeline:
        """Return the pipeline, a new one in a child whose fork ran no hook of ours, or not yet."""
        if self._pipeline.process != os.getpid():
            self.start_over()
        return self._pipeline

    def _topic_of(self, record: logging.LogRecord) -> str:
        return self._conversion.topic(record)

    # At leisure.

    def flush(self, timeout: float | None = None) -> int:  # type: ignore[override] # tells more
        """Deliver what is buffered.

        Args:
            timeout: seconds; ``close_timeout_ms`` when left out.

        Returns:
            How many records are still undelivered; 0 when all that was logged before the call is
            delivered or given up, which ``stats()`` tells apart.
        """
        settle_levels()
        if timeout is not None:
            return self._pipeline_now().flush(timeout)
        return self._deliver(self._pipeline_now().flush)

    def finish(self, *, last: bool = False) -> int:
        """As ``flush()``, and then write what each stream lacks: the process may end without a
        ``close()``.

        Streams with a chain also get a ``pause`` record, or with ``last``, when it is certain that
        the process ends now, the ``end`` record.
        """
        return self._deliver(partial(self._pipeline_now().finish, last=last))

    def _deliver(self, flush: Callable[[float], int]) -> int:
        pipeline, until = self._pipeline, monotonic() + self._time_left()
        emitted, ending = pipeline.buffer.emitted, self._is_ending
        try:
            undelivered = flush(max(0.0, until - monotonic()))
        except KeyboardInterrupt:
            if not ending:
                raise
            process.give_up()
            undelivered, until = pipeline.undelivered, 0.0
        if undelivered or monotonic() >= until:
            # logging.shutdown() flushes and then closes: what is given up here, with nothing new
            # since, is not worth the same wait again.
            self._patience = _Patience(pipeline, emitted, monotonic())
        return undelivered

    def receipts(self, timeout: float | None = None) -> Receipts:
        """Return a block, for ``with`` or ``async with``, at whose end what it logged is stored.

        ::

            with handler.receipts(timeout=2.0) as receipts:
                logger.info("paid")
            print(receipts[0])    # Receipt(topic, partition, offset, message, level)

        What is logged to another handler, is filtered out, or is logged while shipping does not
        count; nor does what a QueueHandler or MemoryHandler hands over from another context. See
        Receipts.

        Args:
            timeout: seconds that leaving the block may take; ``close_timeout_ms`` when left out.
                A block that ends by Ctrl-C or a cancellation does not wait.

        Raises:
            ConfigurationError: ``required_acks`` is 0, or ``timeout`` is no number of seconds.
            NotAcknowledged: on leaving. When the block raised, its exception gets a note instead.
        """
        if self._plan.producer_options["required_acks"] == 0:
            raise ConfigurationError(
                "receipts() needs acknowledgements, and with required_acks=0 the brokers send "
                "none: set required_acks to -1 or 1"
            )
        timeout = self._close_timeout if timeout is None else check_timeout(timeout)
        return Receipts(self._blocks, self, timeout)

    def hurry(self) -> bool:
        """Send what is buffered without waiting for more.

        Returns:
            Whether another thread does so, which can be waited for.
        """
        return self._pipeline_now().hurry()

    @property
    def _is_ending(self) -> bool:
        """Whether the process ends, and nothing was logged since that began."""
        pipeline = self._pipeline
        return self._patience is not None and self._patience[:2] == (
            pipeline,
            pipeline.buffer.emitted,
        )

    def _time_left(self) -> float:
        now = monotonic()
        deadline = min(now + self._close_timeout, process.deadline())
        if self._patience is not None and self._is_ending:
            deadline = min(self._patience.deadline, deadline)
        return max(0.0, deadline - now)

    def begin_to_end(self) -> None:
        """Start to deliver what is buffered: the process is about to end.

        All handlers do so at the same time, so that together they take no longer than one.
        """
        pipeline, deadline = self._pipeline_now(), monotonic() + self._close_timeout
        self._patience = _Patience(pipeline, pipeline.buffer.emitted, deadline)
        self._waiting_for: int | None = pipeline.undelivered
        pipeline.report_waits(self._say_that_it_waits)
        pipeline.start_flushing(self._close_timeout)

    def _say_that_it_waits(self, left: float) -> None:
        """Say so, once, if the brokers took nothing in the last second."""
        before, now = self._waiting_for, self._pipeline.undelivered
        if before is None or now < before:
            self._waiting_for = None if before is None else now
            return
        self._waiting_for = None
        write_to_stderr(
            f"kiel_logging: the program ends when the brokers have {now} "
            f"more log records, or in {left:.0f} s; Ctrl-C gives them up"
        )

    def close(self) -> None:
        """Deliver what is buffered within ``close_timeout_ms``, then end the loop thread.

        What could not be delivered is told on stderr. A record that comes later opens the handler
        again, as it opens a FileHandler: with another thread, and another instance in the headers
        of its records. The end of the process closes that as well.
        """
        settle_levels()
        pipeline, ending = self._pipeline_now(), self._is_ending
        try:
            is_first = pipeline.close(self._time_left())
        except KeyboardInterrupt:
            if not ending:
                raise
            process.give_up()
            is_first = True
        if is_first:
            if self._pipeline is pipeline:
                process.unregister(self)
            pipeline.tell_what_is_lost()
        super().close()

    def tell_what_is_lost(self) -> None:
        """Say on stderr how many records did not reach Kafka, if any, and how many will."""
        self._pipeline_now().tell_what_is_lost()

    def stats(self) -> Stats:
        """Return how many records were emitted, and what became of them, since the handler was
        made.

        In a forked child these are the child's own.
        """
        return replace(
            self._pipeline_now().stats_of_all(),
            fallback=0 if self.fallback is None else self.fallback.taken,
            diverted=self._internal_log.diverted,
        )

    # At a fork.

    def pause(self, timeout: float) -> bool:
        """Hold the loop thread still for a fork; return whether ``go_on()`` has to be called."""
        return self._pipeline.pause(timeout)

    def go_on(self) -> None:
        """Let it work again, in the parent."""
        self._pipeline.go_on()

    def start_over(self) -> None:
        """Begin with an empty buffer and nothing counted, in the child, if it did not yet.

        A hook that logs may run before ours; what it logged is the child's.
        """
        parents = self._pipeline
        if parents.process == os.getpid():
            return
        loading.start_over()
        if parents.abandon():  # another thread, or a signal handler on top of this, did not
            self._blocks.start_over()
            self._patience = None
            self._internal_log.diverted = 0
            if self.fallback is not None:
                self.fallback.taken = 0
        self._pipeline = self._current[0] = parents.successor()
        self._take_the_quick_way()
        process.register(self)
