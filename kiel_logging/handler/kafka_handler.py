"""KafkaHandler: the ``logging.Handler``. Runs on logging threads and doesn't wait for brokers."""

import logging
from typing import TYPE_CHECKING, Self, Unpack

from kiel_logging.config.credentials import Secret, Secretive, hidden
from kiel_logging.config.options import Brokers
from kiel_logging.config.table import takes
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import (
    HANDLER,
    HandlerKeywords,
    KeywordsBesideTopic,
    chain_of,
    handler_options,
    table_of,
)
from kiel_logging.handler.pipeline import Pipeline
from kiel_logging.handler.receipts import Receipts, check_timeout
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.record.route import Topic

if TYPE_CHECKING:
    from kiel_logging.config.properties import Properties


@takes(HANDLER)
class KafkaHandler(RecordHandler):
    """Ships log records to Kafka from a separate thread.

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
        self._set_up(handler_options(brokers=brokers, topic=topic, **given), Pipeline)

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
        assert isinstance(pipeline, Pipeline)
        pipeline.prepare_rotation(chain.key_id)
        keyring.rotate(chain)
        pipeline.rotate()
        return True
