"""``kiel-logging view`` against librdkafka's mock brokers."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from kiel_logging import KafkaHandler
from kiel_logging.cli import main
from kiel_logging.demo.cluster import Cluster
from kiel_logging.prometheus import KafkaHandlerCollector
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.support.waiting import PATIENCE, until


@contextmanager
def viewing(
    cluster: Cluster, topic: str, *words: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves a topic, and the address that it prints."""
    given = [topic, "--brokers", cluster.brokers, *words]
    command = [sys.executable, "-m", "kiel_logging", "view", *given]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().strip()
        finally:
            running.kill()


def asked(url: str, path: str, **query: object) -> Any:
    """The answer at another path of the address."""
    words = "".join(f"&{name}={value}" for name, value in query.items())
    with urlopen(url.replace("/?", f"/{path}?") + words, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_records_are_served_until_ctrl_c(cluster: Cluster, topic: str) -> None:
    """Those that are there, and those that come; with their partitions and streams."""
    stamper = Stamper(topic=topic)
    produce(cluster.brokers, topic, [stamper.stamp(b"INFO:shop:one")])
    with viewing(cluster, topic) as (running, url):

        def messages() -> list[str]:
            return [one["message"] for one in asked(url, "records")["records"]]

        until(lambda: messages() == ["one"])
        produce(cluster.brokers, topic, [stamper.stamp(b"ERROR:shop:two")])
        until(lambda: messages() == ["one", "two"])
        [newest] = asked(url, "records", level="ERROR")["records"]
        place = {name: newest[name] for name in ("topic", "partition", "offset")}
        [whole] = asked(url, "record", **place)["entries"]
        assert whole["value"] == "ERROR:shop:two"
        until(lambda: [one["end"] for one in asked(url, "state")["partitions"]] == [2, 0, 0, 0])
        [stream] = asked(url, "state")["streams"]
        assert (stream["records"], stream["chain"]) == (2, "intact")
        running.send_signal(signal.SIGINT)
        shown, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, shown, errors) == (130, "", "\ninterrupted\n")


def test_the_ledger_of_a_program_is_shown(cluster: Cluster, topic: str) -> None:
    """As the program answers Prometheus."""
    handler = KafkaHandler(cluster.brokers.split(","), topic)
    registry = CollectorRegistry()
    registry.register(KafkaHandlerCollector([handler]))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        handler.handle(logging.makeLogRecord({"msg": "one", "levelno": logging.INFO}))
        handler.close()
        place = f"http://127.0.0.1:{server.server_port}/metrics"
        with viewing(cluster, topic, "--metrics", place) as (_, url):
            until(lambda: asked(url, "state")["ledger"])
            [ledger] = asked(url, "state")["ledger"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    [figures] = ledger["tables"]
    assert (ledger["place"], ledger["error"]) == (place, "")
    [row] = (dict(zip(figures["heads"], one, strict=True)) for one in figures["rows"])
    assert (row["handler"], row["records emitted"], row["records delivered"]) == ("#1", 1, 1)


def test_a_topic_that_is_not_there(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and the reason."""
    assert main(["view", topic, "--brokers", cluster.brokers]) == 2
    assert f"there is no topic '{topic}'" in capsys.readouterr().err


def test_a_port_that_is_taken(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and which one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", "shop", "--brokers", cluster.brokers, "--port", str(port)]) == 2
    assert f"port {port} can't be had" in capsys.readouterr().err


def test_odd_records_do_no_harm(topic: str, cluster: Cluster) -> None:
    """Anybody may write to a topic."""
    odd = [Stamped(None, None, (("kiel-chain", b"x"), ("a", None))), Stamped(b"\xff", b"\xff", ())]
    produce(cluster.brokers, topic, odd)
    with viewing(cluster, topic) as (_, url):
        until(lambda: len(asked(url, "records")["records"]) == 2)
        [none, _] = asked(url, "records")["records"]
        assert none["message"] == "(no value)"
