"""``kiel-logging tail`` on Apache Kafka: what a handler sends is what a person sees."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from kiel_logging import KafkaHandler
from tests.support.kafka import KafkaCluster
from tests.support.waiting import PATIENCE

TIMED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


@contextmanager
def logger_to(cluster: KafkaCluster, topic: str, **options: object) -> Iterator[logging.Logger]:
    """Yield a logger; at the end all of its records are in the topic."""
    handler = KafkaHandler(cluster.bootstrap, topic, key_field="user_id", **options)  # type: ignore[arg-type]
    logger = logging.Logger("shop.cart")
    logger.addHandler(handler)
    try:
        yield logger
        assert handler.flush(PATIENCE) == 0
    finally:
        handler.close()


def command(cluster: KafkaCluster, *words: str) -> list[str]:
    """The command line."""
    brokers = ",".join(cluster.bootstrap)
    return [sys.executable, "-m", "kiel_logging", "tail", "--brokers", brokers, *words]


def tail(cluster: KafkaCluster, *words: str) -> list[str]:
    """The lines that are shown of records that are there."""
    done = subprocess.run(
        command(cluster, "--no-follow", *words), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["json", "ecs", "otel", "gelf", "text"])
def test_every_format_of_the_handler(kafka_4: KafkaCluster, topic: str, kind: str) -> None:
    """The same lines, but for the extras, which a text has not."""
    kafka_4.create_topic(topic, partitions=3)
    with logger_to(kafka_4, topic, format=kind) as logger:
        logger.info("hello")
        logger.warning("order %d\x1b[2J", 17, extra={"user_id": "ada", "total": 9.9})
        try:
            raise ValueError("no money")  # noqa: TRY301 - it has to have a traceback
        except ValueError:
            logger.exception("refused")
    shown = tail(kafka_4, topic)
    extras = "" if kind == "text" else " user_id=ada total=9.9"
    assert all(map(TIMED.match, [line for line in shown if not line.startswith("    ")]))
    assert [TIMED.sub("", line) for line in shown[:3]] == [
        "INFO     shop.cart hello",
        rf"WARNING  shop.cart order 17\x1b[2J{extras}",
        "ERROR    shop.cart refused",
    ]
    assert shown[3] == "    Traceback (most recent call last):"
    assert shown[-1] == "    ValueError: no money"
    assert len(tail(kafka_4, topic, "--level", "WARNING", "--grep", "order")) == 1
    if kind != "text":
        assert len(tail(kafka_4, topic, "--where", "user_id=ada")) == 1


def test_since(kafka_4: KafkaCluster, topic: str) -> None:
    """Records of that time or later, in the order of their times, and all of them."""
    kafka_4.create_topic(topic, partitions=3)
    with logger_to(kafka_4, topic) as logger:
        for number in range(200):
            age = 7_200 if number < 100 else 60
            record = logger.makeRecord("shop", 20, __file__, 1, "%d", (number,), None)
            record.created = time.time() - age + number / 1000
            record.user_id = str(number % 7)
            logger.handle(record)

    def shown(*words: str) -> list[int]:
        documents = map(json.loads, tail(kafka_4, topic, "--json", *words))
        return [int(one["message"]) for one in documents]

    assert shown("--since", "10m") == list(range(100, 200))
    assert shown("--since", "10m", "--lines", "5") == list(range(195, 200))
    assert shown("--since", "1d") == list(range(200))
    hour_ago = datetime.fromtimestamp(time.time() - 3_600, UTC).isoformat()
    assert shown("--since", hour_ago, "--where", "user_id=3") == list(range(101, 200, 7))


def test_a_live_topic(kafka_4: KafkaCluster, topic: str) -> None:
    """Records are shown as they come, and those of the handler itself; Ctrl-C ends it."""
    kafka_4.create_topic(topic)
    with subprocess.Popen(
        command(kafka_4, topic), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            with logger_to(kafka_4, topic, chain=True) as logger:
                logger.info("one")
                seen = [running.stdout.readline() for _ in range(2)]
                assert "[start]" in seen[0]
                assert seen[1].endswith("INFO     shop.cart one\n")
                logger.info("two", extra={"user_id": "ada"})
                assert running.stdout.readline().endswith(" shop.cart two user_id=ada\n")
            assert "[end]" in running.stdout.readline()
            running.send_signal(signal.SIGINT)
            shown, errors = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert (running.returncode, shown, errors) == (130, "", "\ninterrupted\n")
