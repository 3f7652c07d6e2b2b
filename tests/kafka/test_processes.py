"""Forks and exits on Apache Kafka: each record that a process logged is stored once."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.handler.process.child import ROOT, STRICT, run_by_hand, said
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import KafkaCluster
from tests.support.soak import Ledger, Stored, check, run_round
from tests.support.waiting import complaints, until

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


def test_a_thread_that_outlives_the_main_one(kafka_4: KafkaCluster, topic: str) -> None:
    """Its records are stored too."""
    code = f"""
{LOG_ALL}
import threading
make()
log_all("main")
threading.Thread(target=log_all, args=("thread",)).start()
"""
    program = run_by_hand(code, *STRICT, brokers=kafka_4.bootstrap, topic=topic)
    assert (program.returncode, complaints(program.stderr)) == (0, [])
    assert messages(kafka_4, topic) == of("main") + of("thread")


def test_forked_children(kafka_4: KafkaCluster, topic: str) -> None:
    """Those of os.fork() end like any program."""
    code = f"""
{LOG_ALL}
make()
log.info("parent 0")
say(statuses=wait(*[fork(lambda number=number: log_all(f"child-{{number}}"))
                    for number in range(3)]))
"""
    program = run_by_hand(code, *STRICT, brokers=kafka_4.bootstrap, topic=topic)
    assert (said(program), complaints(program.stderr)) == ({"statuses": [0, 0, 0]}, [])
    children = of("child-0") + of("child-1") + of("child-2")
    assert messages(kafka_4, topic) == children + of("parent", 1)


WORKER = f"""
import logging
from kiel_logging import KafkaHandler

def work(options, who):
    log = logging.getLogger("child")
    log.setLevel("INFO")
    if not log.handlers:  # spawned: nothing was inherited
        log.addHandler(KafkaHandler(**options))
    for number in range({RECORDS}):
        log.info("%s %d", who, number)
    return len(log.handlers)
"""


@pytest.fixture
def worker(tmp_path: Path) -> str:
    """The line that lets a program, and what it starts, import `work`."""
    (tmp_path / "worker.py").write_text(WORKER)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom worker import work\n"


@pytest.mark.parametrize(
    ("package", "method"),
    [
        ("multiprocessing", "fork"),
        ("multiprocessing", "spawn"),
        ("multiprocessing", "forkserver"),
        ("billiard", "fork"),
        ("billiard", "spawn"),
    ],
)
def test_workers(kafka_4: KafkaCluster, topic: str, worker: str, package: str, method: str) -> None:
    """Processes of multiprocessing, and of Celery's billiard, run no atexit, and lose nothing."""
    code = f"""
{worker}
{LOG_ALL}
import {package}
if __name__ == "__main__":
    handler = make()
    log.info("parent 0")
    context = {package}.get_context({method!r})
    workers = [
        context.Process(target=work, args=(options, f"child-{{number}}")) for number in range(2)
    ]
    for one in workers: one.start()
    log_all("meanwhile")
    for one in workers: one.join()
    say(statuses=[one.exitcode for one in workers])
"""
    program = run_by_hand(code, brokers=kafka_4.bootstrap, topic=topic)
    assert (said(program), complaints(program.stderr)) == ({"statuses": [0, 0]}, [])
    expected = of("parent", 1) + of("meanwhile") + of("child-0") + of("child-1")
    assert messages(kafka_4, topic) == expected


@pytest.mark.parametrize("package", ["multiprocessing", "billiard"])
def test_a_pool_of_forked_workers(
    kafka_4: KafkaCluster, topic: str, worker: str, package: str
) -> None:
    """As Celery's prefork: workers that live for several tasks, and then end."""
    code = f"""
{worker}
import {package}
make()
log.info("parent 0")
pool = {package}.get_context("fork").Pool(3, maxtasksperchild=2)
tasks = [pool.apply_async(work, (options, f"task-{{number}}")) for number in range(8)]
say(done=[task.get(60) for task in tasks])
pool.close()
pool.join()
"""
    program = run_by_hand(code, brokers=kafka_4.bootstrap, topic=topic)
    assert (said(program), complaints(program.stderr)) == ({"done": [1] * 8}, [])
    expected = of("parent", 1)
    for number in range(8):
        expected += of(f"task-{number}")
    assert messages(kafka_4, topic) == expected


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_an_executor(kafka_4: KafkaCluster, topic: str, worker: str, method: str) -> None:
    """A ProcessPoolExecutor's workers end when it is shut down."""
    code = f"""
{worker}
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    make()
    log.info("parent 0")
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        tasks = [executor.submit(work, options, f"task-{{number}}") for number in range(4)]
        say(done=[task.result() for task in tasks])
"""
    program = run_by_hand(code, brokers=kafka_4.bootstrap, topic=topic)
    assert (said(program), complaints(program.stderr)) == ({"done": [1] * 4}, [])
    expected = of("parent", 1)
    for number in range(4):
        expected += of(f"task-{number}")
    assert messages(kafka_4, topic) == expected


# -- a server that forks --------------------------------------------------------------------------

REQUESTS = 100
CLIENTS = 4

APPLICATION = """
import logging, os
from kiel_logging import KafkaHandler

log = logging.getLogger("shop")
log.setLevel("INFO")
log.addHandler(KafkaHandler({brokers!r}, {topic!r}))
log.info("loaded")

def application(environ, start_response):
    log.info("request %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


SETTINGS = """
control_socket_disable = True

def post_worker_init(worker):
    worker.log.info("Ready for signals")
"""
"""In a file, where versions of gunicorn that have no such setting pass over it."""


@contextmanager
def gunicorn(directory: Path, *switches: str) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A server of `shop:application`, its port, and the file that has its log."""
    (directory / "gunicorn.conf.py").write_text(SETTINGS)
    log = directory / "gunicorn.log"
    with log.open("w") as file, socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listening.fileno()}"]
        command += ["--pythonpath", str(ROOT), "--graceful-timeout", "60", *switches]
        server = subprocess.Popen(
            [*command, "shop:application"],
            cwd=directory,
            stderr=file,
            text=True,
            pass_fds=[listening.fileno()],
        )
        try:
            # No client is turned away while it starts: the port is there.
            yield server, listening.getsockname()[1], log
        finally:
            server.terminate()
            server.wait(60)


def request_all(port: int, client: int) -> None:
    """Make REQUESTS requests, one after the other, each on a new connection."""
    for number in range(REQUESTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        connection.request("GET", f"/{client}-{number}")
        assert connection.getresponse().status == 200
        connection.close()


WORKERS = 3


def all_workers_ready(log: Path) -> bool:
    """Whether each worker, and each that took one's place, has its own signal handlers.

    Until then a forked worker has the master's, and a SIGTERM from the master is lost in it: it
    would live until gunicorn's graceful timeout.
    """
    text = log.read_text()
    return text.count("Ready for signals") == WORKERS + text.count("Autorestarting")


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param(["--worker-class", "sync"], id="sync"),
        pytest.param(["--worker-class", "sync", "--preload"], id="sync, preloaded"),
        pytest.param(["--worker-class", "gthread", "--threads", "4"], id="gthread"),
        pytest.param(
            ["--worker-class", "gthread", "--threads", "4", "--preload"], id="gthread, preloaded"
        ),
        pytest.param(
            ["--worker-class", "sync", "--preload", "--max-requests", "40"], id="workers replaced"
        ),
    ],
)
def test_gunicorn(
    kafka_4: KafkaCluster, topic: str, tmp_path: Path, switches: Sequence[str]
) -> None:
    """Every request's record is there once, whichever worker made it and however that ended."""
    application = APPLICATION.format(brokers=kafka_4.bootstrap, topic=topic)
    (tmp_path / "shop.py").write_text(application)
    with gunicorn(tmp_path, "--workers", str(WORKERS), *switches) as (server, port, log):
        clients = [
            threading.Thread(target=request_all, args=(port, client)) for client in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        until(lambda: all_workers_ready(log))
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    loaded = 1 if "--preload" in switches else WORKERS
    expected = Counter(f"request /{c}-{n}" for c in range(CLIENTS) for n in range(REQUESTS))
    assert messages(kafka_4, topic) == expected + Counter({"loaded": loaded})
    assert [line for line in complaints(log.read_text()) if "kiel_logging" in line] == []


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
