"""Processes that spool: how they end, and what their children have of it.

Each test runs a program against brokers in this process.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.proof.headers import RECOVERY
from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, burst, logged_in, run, run_by_hand, said
from tests.handler.shipped import MakeHandler, logger_to, messages, start_broker, stop_broker
from tests.support.stamps import audited, events, harm
from tests.support.waiting import until

MODES = pytest.mark.parametrize("mode", ["overflow", "always"])

QUICKLY = {"close_timeout_ms": 100, "linger_ms": 1}


def sent_by_the_next(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, count: int
) -> list[str]:
    """The records in the topic once another process has sent those that were left."""
    start_broker(cluster)
    handler: KafkaHandler = make_handler(spool_dir=spool)
    cluster.stored("logs", count)
    assert handler.flush() == 0
    return messages(cluster)


@MODES
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("raise RuntimeError('boom')", 1),
        ("sys.exit(3)", 3),
    ],
    ids=["nothing", "exception", "sys.exit"],
)
def test_an_end_without_brokers(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    tmp_path: Path,
    mode: str,
    ending: str,
    status: int,
) -> None:
    """However a program ends by itself, what it logged is on disk, and that is said."""
    stop_broker(cluster)
    code = "for number in range(1000): log.info('%d', number)\n" + ending
    spool = str(tmp_path)
    done = run(code, brokers=cluster.addresses, spool_dir=spool, spool=mode, **QUICKLY)
    assert done.returncode == status
    assert f"1000 log records are on disk in {spool}" in done.stderr
    assert "did not reach" not in done.stderr
    found = sent_by_the_next(cluster, make_handler, tmp_path, 1000)
    assert found == [str(number) for number in range(1000)]


@MODES
def test_development_mode_finds_nothing(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """Nothing is left open."""
    done = run(
        "for number in range(10): log.info('%d', number)",
        *STRICT,
        brokers=cluster.addresses,
        spool_dir=str(tmp_path),
        spool=mode,
        chain=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(cluster) == [str(number) for number in range(10)]
    assert list(tmp_path.iterdir()) == []
    assert harm(audited(cluster.records("logs"))) == {}


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_sigkill_loses_nothing(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, synchronous: str
) -> None:
    """Whose call returned, with "always"."""
    stop_broker(cluster)
    code = """
make()
for number in range(500): log.info("%d", number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_by_hand(
        code,
        brokers=cluster.addresses,
        spool_dir=str(tmp_path),
        spool="always",
        spool_synchronous=synchronous,
    )
    assert done.returncode == -signal.SIGKILL
    found = sent_by_the_next(cluster, make_handler, tmp_path, 500)
    assert found == [str(number) for number in range(500)]


def test_a_sigkill_in_a_long_silence_loses_nothing(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """With "overflow", what the brokers have not taken for a while is on disk, all of it."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    code = """
import contextlib, io
from kiel_logging.cli import main
from kiel_logging.handler.spool import spool
spool.QUIET = 0.1

def on_disk():
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        main(["spool", options["spool_dir"], "--json"])
    (instance,) = json.loads(shown.getvalue())["instances"] or [{"streams": []}]
    return sum(stream["records"] for stream in instance["streams"])

make(chain=True)
for number in range(3000): log.info("%d", number)
while on_disk() < 3001: pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_by_hand(
        code, brokers=cluster.addresses, spool_dir=str(tmp_path), buffer_records=4000
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    cluster.on_broker(0, lambda broker: broker.resume())
    handler = make_handler(spool_dir=tmp_path, chain=True)
    until(lambda: handler.stats().recovered == 3001)
    handler.close()
    sent = dict.fromkeys(messages(cluster))  # the broker may store what it had when it stalled
    assert [text for text in sent if text.isdigit()] == [str(number) for number in range(3000)]
    # The process may have sent more than was on disk: no recovery can vouch for its end.
    assert harm(audited(cluster.records("logs"))).keys() - {"repeated"} == {"unfinished"}


@MODES
def test_sigterm(cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, mode: str) -> None:
    """With flush_on_sigterm what could not be delivered in time is on disk."""
    stop_broker(cluster)
    code = """
make(flush_on_sigterm=True)
for number in range(500): log.info("%d", number)
terminate()
"""
    done = run_by_hand(
        code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode, **QUICKLY
    )
    assert done.returncode == -signal.SIGTERM
    assert f"500 log records are on disk in {tmp_path}" in done.stderr
    assert "did not reach" not in done.stderr
    found = sent_by_the_next(cluster, make_handler, tmp_path, 500)
    assert found == [str(number) for number in range(500)]


@MODES
def test_sigterm_while_it_logs(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """Wherever it comes, in the middle of a commit for one: the stream is whole and has ended."""
    code = """
make(flush_on_sigterm=True, chain=True, close_timeout_ms=50_000)
timer = threading.Timer(0.2, terminate)
timer.start()
while True: log.info("again")
"""
    for _ in range(4):
        done = run_by_hand(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode)
        assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
    verdict = audited(cluster.records("logs"))
    assert harm(verdict) == {}
    assert len(verdict.streams) == 4


@MODES
def test_a_worker_of_multiprocessing(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, mode: str
) -> None:
    """It closes nothing at its end, and what it logged is on disk all the same."""
    stop_broker(cluster)
    code = """
import multiprocessing
make()

def work():
    for number in range(500): log.info("%d", number)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
say(status=child.exitcode)
"""
    done = run_by_hand(
        code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode, **QUICKLY
    )
    assert (done.returncode, said(done)) == (0, {"status": 0})
    assert f"500 log records are on disk in {tmp_path}" in done.stderr
    found = sent_by_the_next(cluster, make_handler, tmp_path, 500)
    assert found == [str(number) for number in range(500)]


@MODES
@pytest.mark.parametrize("away", [False, True], ids=["brokers", "no brokers"])
def test_forks_while_spooling(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, mode: str, away: bool
) -> None:
    """Each process has another file: all records of all of them arrive, once."""
    if away:
        stop_broker(cluster)
    make = 'make(buffer_records=200, overflow="block", block_timeout_ms=60_000)'
    code = burst(make, threads=2, least=1000, own=300)
    patience = {**QUICKLY, "close_timeout_ms": 500} if away else {"close_timeout_ms": 50_000}
    done = run_by_hand(
        code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode, **patience
    )
    told = said(done)
    assert (done.returncode, told["statuses"]) == (0, [0] * 4)
    assert "did not reach" not in done.stderr
    expected = logged_in(told, 300)
    if away:
        sent_by_the_next(cluster, make_handler, tmp_path, expected.total())
    assert Counter(messages(cluster)) == expected
    assert harm(audited(cluster.records("logs"))) == {}


@MODES
def test_a_signal_handler_logs_on_top(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """Wherever the program is, in the middle of a commit for one: all of it arrives."""
    code = """
make(buffer_records=1000, overflow="block")
count, goes_on = 0, True

def on_top(number, frame):
    global count
    log.info("signal %d", count)
    count += 1
    if goes_on: signal.setitimer(signal.ITIMER_REAL, 0.0003)

log.info("0")
signal.signal(signal.SIGALRM, on_top)
signal.setitimer(signal.ITIMER_REAL, 0.0003)
for number in range(1, 5000): log.info("%d", number)
goes_on = False
signal.setitimer(signal.ITIMER_REAL, 0)
say(count=count)
"""
    done = run_by_hand(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode)
    assert (done.returncode, done.stderr) == (0, "")
    expected = [*map(str, range(5000)), *(f"signal {n}" for n in range(said(done)["count"]))]
    assert Counter(messages(cluster)) == Counter(expected)
    assert harm(audited(cluster.records("logs"))) == {}
    assert list(tmp_path.iterdir()) == []


@MODES
def test_a_disk_that_takes_no_more(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """A limit on the size of files, as a full disk: no call raises, memory does what it can."""
    stop_broker(cluster)
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
errors = []
handler = make(on_error=lambda error, count: errors.append(type(error).__name__))
for number in range(3000): log.info("%d", number)
stats = handler.stats()
say(emitted=stats.emitted, dropped=stats.dropped_total)
handler.close()
stats = handler.stats()
say(spooled=stats.spooled, failed=stats.failed, errors=sorted(set(errors)))
"""
    done = run_by_hand(
        code,
        brokers=cluster.addresses,
        spool_dir=str(tmp_path / "spool"),
        spool=mode,
        **QUICKLY,
    )
    assert done.returncode == 0, done.stderr
    told = said(done)
    assert (told["emitted"], told["dropped"]) == (3000, 0)
    assert told["spooled"] + told["failed"] == 3000
    assert 0 < told["spooled"] < 3000
    assert "SpoolError" in told["errors"]
    assert "a limit on the size of files" in done.stderr
    assert f"{told['spooled']} log records are on disk" in done.stderr
    assert f"{told['failed']} log records did not reach Kafka" in done.stderr


@MODES
def test_two_programs_on_one_directory(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """Records that others left are sent once, by the first that gets them; each sends its own."""
    stop_broker(cluster)
    for program in range(4):
        code = f"for number in range(200): log.info('left {program} %d', number)"
        spool = str(tmp_path)
        run(code, brokers=cluster.addresses, spool_dir=spool, spool=mode, **QUICKLY)
    start_broker(cluster)

    def send(program: int) -> str:
        code = f"for number in range(200): log.info('own {program} %d', number)"
        return run(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool=mode).stderr

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(send, range(2))) == ["", ""]
    assert list(tmp_path.iterdir()) == []
    expected = [f"left {program} {number}" for program in range(4) for number in range(200)]
    expected += [f"own {program} {number}" for program in range(2) for number in range(200)]
    assert Counter(messages(cluster)) == Counter(expected)
    assert harm(audited(cluster.records("logs"))) == {}


@pytest.mark.parametrize("away", [True, False], ids=["brokers away", "brokers there"])
def test_a_crash_loop_leaves_one_recovery_for_each_crash(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, away: bool
) -> None:
    """Recovery records do not multiply, though each process takes over from all before it."""
    if away:
        stop_broker(cluster)
    code = f"""
handler = make(chain=True)
log.info("record")
handler.flush({0.1 if away else 30.0})
os.kill(os.getpid(), signal.SIGKILL)
"""
    crashes = 5
    for _ in range(crashes):
        run_by_hand(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool="always")
    start_broker(cluster)
    handler = make_handler(spool_dir=tmp_path, spool="always", chain=True)
    logger_to(handler).info("last")
    until(lambda: list(tmp_path.iterdir()) == [tmp_path / handler._lifecycle.pipeline.instance])
    handler.close()
    stored = cluster.records("logs")
    assert set(messages(cluster)) == {"record", "last"}
    # Some were sent again, for no checkpoint had been written: those are the same.
    recoveries = {details for name, details in events(stored) if name == RECOVERY}
    dead = {json.loads(details)["instance"] for details in recoveries}
    assert (len(recoveries), len(dead)) == (crashes, crashes)
    assert harm(audited(stored)).keys() <= {"repeated"}
