"""AuditHandler: KafkaHandler's safe choices in one name, and a logger that can't be silenced."""

import logging
from typing import Any, Final, Unpack

from kiel_logging.config.credentials import hidden
from kiel_logging.config.options import Brokers
from kiel_logging.config.table import takes
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.audit_logger import install, uninstall
from kiel_logging.handler.buffer import BLOCK
from kiel_logging.handler.kafka_handler import KafkaHandler
from kiel_logging.handler.options import AUDIT, HANDLER, HandlerKeywords
from kiel_logging.record.route import Topic

_SAFE: Final[dict[str, Any]] = {
    "required_acks": -1,
    "idempotence": True,
    "overflow": BLOCK,
    "chain": True,
    "level": logging.NOTSET,
    **dict.fromkeys(("rate_limit", "sample", "dedupe", "before_send")),
}
"""Options that can't be chosen."""

_WHY: Final = {
    "required_acks": "a record counts as delivered when all in-sync replicas have it",
    "idempotence": "a retry must not repeat a record",
    "overflow": "callers wait for room, and then records go to disk, before any is dropped",
    "chain": "records that are taken out or changed later have to be found",
    "level": "a level would keep records out of the stream",
    **dict.fromkeys(
        ("rate_limit", "sample", "dedupe", "before_send"), "an audit stream leaves nothing out"
    ),
}


_UNKEYED: Final = (
    "has no chain_key: anybody who can write to the topic can change its records and compute their "
    "digests anew; set chain_key to {'env': ...} or {'file': ...}"
)


@takes(AUDIT)
class AuditHandler(KafkaHandler):
    """Ships every record that is logged to one logger, which can't be silenced.

    It waits for all in-sync replicas, with idempotence; where memory is full the caller waits up to
    ``block_timeout_ms`` while records go to disk; records are a chain, which
    ``kiel-logging verify`` checks; SIGTERM delivers what is buffered before it ends the process.
    With ``spool="always"`` each is on disk before its call returns.

    Give it a ``chain_key``: without one, anybody who can write to the topic can compute the digests
    of other records. The handler warns on stderr if there is none.

    A ``dictConfig`` closes the handlers that were there before. It does not close this one, unless
    it makes another one for the same logger, brokers and topic, which replaces it.

    The class of the logger ``logger`` becomes AuditLogger: it makes every record, whatever its
    level, ``disabled``, ``logging.disable()`` or a later ``dictConfig`` say. These decide what
    other handlers get. It does not propagate until ``propagate`` is set.

    In a dictConfig this entry among the handlers is enough; the logger need not be named.

    Args: ...

    Attributes:
        logger: what ``logging.getLogger()`` returns for that name.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
        SpoolError: there can be no files in ``spool_dir``.
    """

    def __init__(
        self,
        brokers: Brokers = (),
        topic: Topic = "",
        *,
        logger: str = "audit",
        **options: Unpack[HandlerKeywords],
    ) -> None:
        given = hidden({**options}, (*HANDLER, "acks"))
        del options  # some tools show local variables with a traceback
        _refuse_less(given)
        if given.get("spool_dir") is None:
            raise ConfigurationError(
                "AuditHandler needs spool_dir, a directory on a local disk: what memory can't hold "
                "while the brokers are away has nowhere else to go"
            )
        safe: dict[str, Any] = {"flush_on_sigterm": True, **given, **_SAFE}
        super().__init__(brokers, topic, **safe)
        self._destination = (str(brokers), topic)
        try:
            self.logger = install(logger, self)
        except BaseException:
            self.close()
            raise
        _keep_from_dict_config(self)
        self._replace_others()
        if given.get("chain_key") is None:
            self._internal_log.say(logging.WARNING, f"{self.name or 'an AuditHandler'} {_UNKEYED}")

    def _replace_others(self) -> None:
        """Close the handlers of the same stream: a ``dictConfig`` may run more than once."""
        for other in self.logger.audits:
            same = isinstance(other, AuditHandler) and other._destination == self._destination
            if other is not self and same:
                other.close()

    def setLevel(self, level: int | str) -> None:  # noqa: N802 # logging's name
        """Report that the stream has all levels, and change nothing."""
        logging._checkLevel(level)  # type: ignore[attr-defined] # raises, as for any handler
        self._internal_log.complain(
            "level", f"{self.name or 'an AuditHandler'} ships all levels: setLevel() has no effect"
        )

    def addFilter(self, filter: Any) -> None:  # noqa: A002, N802 # logging's names
        """Report that the stream has all records, and change nothing."""
        del filter
        self._internal_log.complain(
            "filter", f"{self.name or 'an AuditHandler'} ships all records: filters have no effect"
        )

    def close(self) -> None:
        """Close as a KafkaHandler does; the logger no longer has this handler."""
        uninstall(self)
        super().close()


def _refuse_less(options: dict[str, Any]) -> None:
    for name, safe in _SAFE.items():
        for given in (name, "acks") if name == "required_acks" else (name,):
            if given in options and options[given] != safe:
                raise ConfigurationError(
                    f"{given}={options[given]!r} is not for AuditHandler, which has {safe!r}: "
                    f"{_WHY[name]}. KafkaHandler takes it"
                )


def _keep_from_dict_config(handler: AuditHandler) -> None:
    """Take ``handler`` off the list of those that ``logging.shutdown()`` closes, as every
    ``dictConfig`` does. ``handler/exits.py`` puts it back at the end of the process."""
    handlers: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    handlers[:] = [reference for reference in handlers if reference() is not handler]
