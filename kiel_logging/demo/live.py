"""The shop stays open until Ctrl-C, and the page of ``kiel-logging view`` shows it, with buttons:
one stops a broker and starts it again, one writes a record that was tampered with."""

import asyncio
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Final, NoReturn

from confluent_kafka import KafkaException, Producer

from kiel_logging.confluent import reason
from kiel_logging.demo.cluster import Cluster, mock_cluster
from kiel_logging.demo.day import configure, say
from kiel_logging.demo.report import ledger
from kiel_logging.demo.shop import Phase, Shop, logging_config
from kiel_logging.output import CannotRun
from kiel_logging.tail.filters import TailOptions
from kiel_logging.view.command import serve
from kiel_logging.view.server import Site

_PATIENCE_S: Final = 30.0
_MINUTE: Final = 60
_LINES: Final = 200


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
    try:
        with mock_cluster() as cluster:
            _stay_open(shop, rate, codec, cluster)
    except KafkaException as error:
        raise CannotRun(reason(error)) from error


def _stay_open(shop: Shop, rate: int, codec: str | None, cluster: Cluster) -> NoReturn:
    cluster.partitions()
    config = logging_config(cluster.brokers, codec, cluster.prefix)
    for handler in config["handlers"].values():
        handler["chain"] = True  # so that the page can show what was tampered with
    handlers = configure(config)
    site = Site(tuple(cluster.topics), time.monotonic)
    site.ledger = lambda: [_ledger({name: one.stats() for name, one in handlers.items()})]
    assert cluster.control is not None
    _broker_button(site.buttons, cluster.control)
    site.buttons["tamper with a record"] = _tampering(site, cluster)
    options = TailOptions(
        topics=site.topics, brokers=cluster.brokers, timeout=_PATIENCE_S, lines=_LINES
    )
    say(f"found {cluster.brokers}; the topics are {cluster.prefix}*")
    say("the shop is open until Ctrl-C; open this page in a browser on this host:")
    try:
        asyncio.run(serve(site, options, 0, _open(shop, rate)))
    finally:
        for handler in handlers.values():
            handler.close()


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


def _ledger(stats: dict[str, object]) -> dict[str, object]:
    heads, rows = ledger(stats)
    return {"place": "this shop", "error": "", "tables": [{"heads": heads, "rows": rows}]}


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
