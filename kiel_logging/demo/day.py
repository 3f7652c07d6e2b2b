"""A day of the shop: its logging configured, its records logged, and read back. With ``--view`` it
stays open until Ctrl-C, and the page of ``kiel-logging view`` shows it, with two buttons."""

import asyncio
import itertools
import json
import logging.config
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Final, NamedTuple, NoReturn

from confluent_kafka import KafkaException, Producer

from kiel_logging.confluent import reason
from kiel_logging.demo.cluster import Cluster, mock_cluster
from kiel_logging.demo.reader import Tally, reading
from kiel_logging.demo.shop import Phase, Shop, logging_config
from kiel_logging.output import CannotRun
from kiel_logging.printable import counted
from kiel_logging.tail.filters import TailOptions
from kiel_logging.view.command import serve
from kiel_logging.view.server import Site

_PATIENCE_S: Final = 30.0
_LINES: Final = 200
_MINUTE: Final = 60


class Day(NamedTuple):
    """The result of a run; ``stats`` are by handler."""

    cluster: Cluster
    phases: list[Phase]
    stats: Mapping[str, Any]
    tally: Tally


@contextmanager
def _found(brokers: AbstractContextManager[Cluster]) -> Iterator[Cluster]:
    """Yield the cluster, with its topics; raise CannotRun if its brokers don't answer."""
    try:
        with brokers as cluster:
            cluster.partitions()
            say(f"found {cluster.brokers}; the topics are {cluster.prefix}*")
            yield cluster
    except KafkaException as error:
        raise CannotRun(reason(error)) from error


@contextmanager
def _configured(cluster: Cluster, codec: str | None, **options: Any) -> Iterator[dict[str, Any]]:
    """Yield the shop's handlers by name, which are closed at the end.

    Raises:
        CannotRun: an option is wrong.
    """
    config = logging_config(cluster.brokers, codec, cluster.prefix)
    for one in config["handlers"].values():
        one.update(options)
    try:
        logging.config.dictConfig(config)
    except ValueError as error:  # dictConfig hides the cause
        raise CannotRun(str(error.__cause__ or error)) from error
    loggers = map(logging.getLogger, config["loggers"])
    handlers = {str(one.name): one for logger in loggers for one in logger.handlers}
    try:
        yield handlers
    finally:
        for handler in handlers.values():
            handler.close()


def spend_day(
    shop: Shop, phases: list[Phase], codec: str | None, brokers: AbstractContextManager[Cluster]
) -> Day:
    """Log all phases and read them back; report each step on standard output.

    Raises:
        CannotRun: the brokers don't answer, or the handlers can't deliver anything.
    """
    say("looking for the brokers")
    with _found(brokers) as cluster, reading(cluster, cluster.partitions()) as finish:
        with _configured(cluster, codec) as handlers:
            for phase in phases:
                _log(phase, shop, handlers)
            stats = {name: handler.stats() for name, handler in handlers.items()}
        say("reading the rest back")
        arrivals = finish()
        logged = ((cluster.prefix + name, number) for one in phases for name, number in one.logged)
        return Day(cluster, phases, stats, Tally(logged, arrivals))


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


def keep_cluster() -> NoReturn:
    """Print how programs find mock brokers, and keep them until Ctrl-C."""
    with mock_cluster() as cluster:
        sys.stdout.write(f"export KIEL_LOGGING_BROKERS={cluster.brokers}\n")
        sys.stdout.flush()
        while True:
            threading.Event().wait()


def stay_open(shop: Shop, rate: int, codec: str | None) -> NoReturn:
    """Log ``rate`` records a second, and serve the page, until Ctrl-C.

    Raises:
        CannotRun: the brokers don't start, or the topics can't be read.
    """
    # With a chain, so that the page can show what was tampered with.
    with _found(mock_cluster()) as cluster, _configured(cluster, codec, chain=True) as handlers:
        site = Site(tuple(cluster.topics), time.monotonic)

        def figures() -> list[dict[str, Any]]:
            heads, rows = ledger({name: one.stats() for name, one in handlers.items()})
            tables = [{"heads": heads, "rows": rows}]
            return [{"place": "this shop", "error": "", "tables": tables}]

        site.ledger = figures
        assert cluster.control is not None
        _broker_button(site.buttons, cluster.control)
        site.buttons["tamper with a record"] = _tampering(site, cluster)
        options = TailOptions(
            topics=site.topics, brokers=cluster.brokers, timeout=_PATIENCE_S, lines=_LINES
        )
        say("the shop is open until Ctrl-C; open this page in a browser on this host:")
        asyncio.run(serve(site, options, 0, _open(shop, rate)))


async def _open(shop: Shop, rate: int) -> None:
    """Log until this is cancelled."""

    def visits() -> None:
        for minute in itertools.count():
            if shop.is_closing.is_set():
                return
            ids = range(minute * _MINUTE * rate, (minute + 1) * _MINUTE * rate)
            shop.open(Phase("open", ids, rate), lambda _: None)

    try:
        await asyncio.to_thread(visits)
    finally:
        shop.is_closing.set()


def ledger(stats: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Return the heads and the rows of a table of the handlers' stats, by their names."""
    heads = ["handler", "emitted", "delivered", "dropped", "failed", "waiting"]
    rows = []
    for name, one in stats.items():
        waiting = one.buffered + one.in_flight
        rows.append([name, one.emitted, one.delivered, one.dropped_total, one.failed, waiting])
    return heads, rows


def _broker_button(buttons: dict[str, Callable[[], None]], control: IO[bytes]) -> None:
    """Add a button that stops broker 1, and in its place one that starts it again."""
    states = itertools.cycle([("down", "stop broker 1"), ("up", "start broker 1")])

    def put() -> None:
        state, label = next(states)

        def press() -> None:
            control.write(f"{state} 1\n".encode())
            control.flush()
            del buttons[label]
            put()

        buttons[label] = press

    put()


def _tampering(site: Site, cluster: Cluster) -> Callable[[], None]:
    """Return a function that writes the newest record again, with another message."""
    producer = Producer(cluster.client_config)

    def tamper() -> None:
        for one in site.shelf.arrivals():
            if one.mark is not None and not one.mark.event:
                fields = json.loads(one.value or b"")
                fields["message"] += " (tampered with)"
                headers: list[tuple[str, str | bytes | None]] = list(one.headers)
                at, value = one.at, json.dumps(fields)
                producer.produce(at.topic, value, one.key, at.partition, headers=headers)
                return

    return tamper
