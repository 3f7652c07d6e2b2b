"""A day of the shop: its logging configured, its records logged, and read back."""

import logging.config
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException

from kiel_logging.confluent import reason
from kiel_logging.demo.cluster import Cluster
from kiel_logging.demo.reader import reading
from kiel_logging.demo.shop import Phase, Shop, logging_config
from kiel_logging.demo.tally import Tally
from kiel_logging.output import CannotRun
from kiel_logging.printable import counted

_PATIENCE_S: Final = 30.0


class Day(NamedTuple):
    """The result of a run; ``stats`` are by handler."""

    cluster: Cluster
    phases: list[Phase]
    stats: Mapping[str, Any]
    tally: Tally


def spend_day(
    shop: Shop, phases: list[Phase], codec: str | None, brokers: AbstractContextManager[Cluster]
) -> Day:
    """Log all phases and read them back; report each step on standard output.

    Raises:
        CannotRun: the brokers don't answer, or the handlers can't deliver anything.
    """
    try:
        say("looking for the brokers")
        with brokers as cluster:
            return _spend(shop, phases, codec, cluster)
    except KafkaException as error:
        raise CannotRun(reason(error)) from error


def _spend(shop: Shop, phases: list[Phase], codec: str | None, cluster: Cluster) -> Day:
    partitions = cluster.partitions()
    say(f"found {cluster.brokers}; the topics are {cluster.prefix}*")
    with reading(cluster, partitions) as finish:
        handlers = configure(logging_config(cluster.brokers, codec, cluster.prefix))
        try:
            for phase in phases:
                _log(phase, shop, handlers)
            stats = {name: handler.stats() for name, handler in handlers.items()}
        finally:
            for handler in handlers.values():
                handler.close()
        say("reading the rest back")
        arrivals = finish()
    logged = ((cluster.prefix + name, number) for one in phases for name, number in one.logged)
    return Day(cluster, phases, stats, Tally(logged, arrivals))


def configure(config: dict[str, Any]) -> dict[str, Any]:
    """Apply a configuration and return its handlers by name."""
    try:
        logging.config.dictConfig(config)
    except ValueError as error:  # of the handler's options; dictConfig hides the cause
        raise CannotRun(str(error.__cause__ or error)) from error
    loggers = [logging.getLogger(name) for name in config["loggers"]]
    return {str(handler.name): handler for logger in loggers for handler in logger.handlers}


def _log(phase: Phase, shop: Shop, handlers: Mapping[str, Any]) -> None:
    pace = f"at {phase.rate:,} a second" if phase.rate else "flat out"
    say(f"logging {counted(len(phase.ids), 'records')} {pace}")
    shop.open(phase, lambda number: say(f"    {number:,} logged"))
    start = time.monotonic()
    for handler in handlers.values():
        handler.flush(max(start + _PATIENCE_S - time.monotonic(), 0.0))
    phase.flush_seconds = time.monotonic() - start
    stats = [handler.stats() for handler in handlers.values()]
    if any(each.emitted for each in stats) and not any(each.delivered for each in stats):
        raise CannotRun("the handlers could not deliver a single record, see above")


def say(step: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {step}\n")
    sys.stdout.flush()
