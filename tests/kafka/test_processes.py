"""Forks and exits on Apache Kafka: each record that a process logged is stored once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.handler.process.child import run_by_hand
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import KafkaCluster
from tests.support.soak import Ledger, Stored, check, run_round
from tests.support.waiting import complaints

RECORDS = 1_000

LOG_ALL = f"""
def log_all(who):
    for number in range({RECORDS}):
        log.info("%s %d", who, number)
"""

CTRL_C = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
os.kill(os.getpid(), signal.SIGINT)
"""


def of(who: str, records: int = RECORDS) -> Counter[str]:
    """What `log_all(who)` logs."""
    return Counter(f"{who} {number}" for number in range(records))


def messages(cluster: KafkaCluster, topic: str) -> Counter[str]:
    """How often each message is in a topic."""
    stored = confluent_consume(cluster.bootstrap, topic)
    return Counter(json.loads(record.value or b"")["message"] for record in stored)


# -- ways to end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "status", "complaint"),
    [
        pytest.param("", 0, "", id="normal end"),
        pytest.param("sys.exit(3)", 3, "", id="sys.exit"),
        pytest.param("raise RuntimeError('boom')", 1, "RuntimeError: boom", id="exception"),
        pytest.param("logging.shutdown()", 0, "", id="logging.shutdown"),
        pytest.param("terminate()", -signal.SIGTERM, "", id="SIGTERM"),
        pytest.param(CTRL_C, -signal.SIGINT, "KeyboardInterrupt", id="SIGINT"),
    ],
)
def test_every_way_to_end(
    kafka_4: KafkaCluster, topic: str, ending: str, status: int, complaint: str
) -> None:
    """All records are on the brokers when the process is gone, and its status stays."""
    # Python forgets a KeyboardInterrupt, and ends with 1, if a thread imports modules at the end:
    # those of the network are there after a flush.
    code = f"""
{LOG_ALL}
handler = make(flush_on_sigterm=True)
log_all("first")
handler.flush()
log_all("last")
{ending}
"""
    program = run_by_hand(code, brokers=kafka_4.bootstrap, topic=topic)
    assert program.returncode == status
    assert complaint in program.stderr
    assert bool(complaint) == bool(complaints(program.stderr))
    assert messages(kafka_4, topic) == of("first") + of("last")


# -- many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(2))
def test_children_beside_a_parent_that_logs(kafka_4: KafkaCluster, topic: str, number: int) -> None:
    """Eight children, and the parent's thread all the while: all ledgers agree with the topic."""
    kafka_4.create_topic(topic, partitions=6)
    result = run_round(kafka_4.bootstrap, topic, RECORDS)
    print(result)
    assert result.flawless
    assert result.report.processes == 9
    assert result.report.stored > 8 * RECORDS


# -- the checker finds what it is there to find ---------------------------------------------------

WHOLE = Ledger(who="p", logged={"main": 2, "t0": 2}, emitted=4, delivered=4, children=["p.0"])
CHILD = Ledger(
    who="p.0", logged={"main": 3}, emitted=4, delivered=2, dropped={"buffer_full": 2}, children=[]
)
STORED = [
    *(Stored("p", thread, number) for thread in ("main", "t0") for number in range(2)),
    Stored("p.0", "main", 2),
    Stored("p.0", None, None),  # a summary of what was dropped
]


def changed(ledger: Ledger, **changes: Any) -> list[Ledger]:
    """Both ledgers, one of them changed."""
    return [replace(each, **changes) if each is ledger else each for each in (WHOLE, CHILD)]


@pytest.mark.parametrize(
    ("ledgers", "stored", "found"),
    [
        pytest.param([WHOLE, CHILD], STORED, [], id="nothing"),
        pytest.param([WHOLE, CHILD], STORED[1:], ["p: 4 delivered, and 3 stored"], id="lost"),
        pytest.param(
            [WHOLE, CHILD],
            [*STORED, STORED[0]],
            ["p: 4 delivered, and 5 stored", "p: 1 stored more than once, main 0 for one"],
            id="twice",
        ),
        pytest.param(
            [WHOLE, CHILD],
            [STORED[1], *STORED[1:]],
            ["p: 1 stored more than once, main 1 for one"],
            id="one lost and one twice",
        ),
        pytest.param(
            [WHOLE, CHILD],
            [Stored("p", "main", 7), *STORED[1:]],
            ["p: 1 stored that it did not log, main 7 for one"],
            id="a number that was not logged",
        ),
        pytest.param(
            [WHOLE], STORED, ["p.0: ended without a ledger"], id="a child that says nothing"
        ),
        pytest.param(
            [WHOLE, CHILD, CHILD], STORED, ["p.0: told 2 ledgers"], id="a child that says it twice"
        ),
        pytest.param(
            [WHOLE, CHILD],
            [*STORED, Stored("q", "main", 0)],
            ["q: nobody started it"],
            id="of nobody knows whom",
        ),
        pytest.param(
            changed(WHOLE, waiting=1),
            STORED,
            ["p: 1 records wait after the end", "p: 4 emitted, and 4 delivered, dropped or failed"],
            id="left over",
        ),
        pytest.param(
            changed(CHILD, dropped={"buffer_full": 1, "closed": 1}),
            STORED,
            ["p.0: 1 dropped for closed"],
            id="dropped for another reason",
        ),
        pytest.param(
            changed(CHILD, dropped={}, failed=2),
            STORED,
            ["p.0: 2 failed, though the brokers came back"],
            id="failed",
        ),
        pytest.param(
            changed(CHILD, logged={"main": 4}),
            STORED,
            ["p.0: 4 emitted, and 4 logged with 1 summaries"],
            id="logged and not counted",
        ),
    ],
)
def test_the_checker_finds_each_defect(
    ledgers: Sequence[Ledger], stored: Sequence[Stored], found: list[str]
) -> None:
    """Each planted defect is reported, with the process's name, and nothing else is."""
    report = check(["p"], ledgers, stored)
    assert list(report.defects) == found
    assert report.flawless is (not found)
    assert str(report).count("\n") == len(found)
