"""The threads that log."""

import logging
import threading

import pytest

from kiel_logging.demo.phases import Phase, plan
from kiel_logging.demo.workload import Shop


class _Recorder(logging.Handler):
    """Keeps what it is given, in order."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def recorder():
    """Yield a handler that stands at the shop's root logger instead of Kafka."""
    logger, handler = logging.getLogger("shop"), _Recorder()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _ignore(logged):
    pass


def _run(seed, threads, records):
    shop = Shop(threads, seed)
    return [shop.open(phase, _ignore) for phase in plan(records, rate=100_000)]


def _content(record):
    return record.record_id, record.name, record.levelno, record.getMessage(), record.threadName


def test_every_id_is_logged_once(recorder):
    """All threads together log each record of all phases exactly once."""
    _run(seed=1, threads=3, records=1_000)
    assert sorted(record.record_id for record in recorder.records) == list(range(1_000))


def test_what_is_logged_is_noted(recorder):
    """The ids noted per topic are those that were logged, an error's in two topics."""
    logs = _run(seed=1, threads=3, records=1_000)
    noted = {
        topic: sorted(each for log in logs for each in log.ids.get(topic, ()))
        for topic in ("shop.app", "shop.errors", "shop.audit")
    }
    app = [each for each in recorder.records if each.name not in {"shop.audit", "shop.access"}]
    assert noted["shop.app"] == sorted(each.record_id for each in app)
    assert noted["shop.errors"] == sorted(each.record_id for each in app if each.levelno >= 40)
    assert noted["shop.errors"]
    assert sum(len(log.call_ns) for log in logs) == 1_000


def test_a_seed_repeats_the_run(recorder):
    """Two runs of a seed log the same records from the same threads."""
    _run(seed=5, threads=2, records=600)
    one = sorted(map(_content, recorder.records))
    recorder.records.clear()
    _run(seed=5, threads=2, records=600)
    assert sorted(map(_content, recorder.records)) == one


def test_failures_carry_their_exceptions(recorder):
    """A payment that fails is logged with a traceback through the payment code."""
    _run(seed=1, threads=1, records=3_000)
    failed = [record for record in recorder.records if record.exc_info]
    assert failed
    for record in failed:
        assert record.levelno == logging.ERROR
        assert record.exc_info[2].tb_next is not None


def test_a_rate_is_kept(recorder):
    """At 500 a second, 50 records take at least the 49 intervals between them."""
    logged = Shop(threads=1, seed=1).open(Phase("steady", 0, 50, 500), _ignore)
    assert logged.seconds >= 49 / 500


def test_progress_ends_with_all(recorder):
    """The last progress told is the number of records."""
    told = []
    Shop(threads=2, seed=1).open(Phase("steady", 0, 200, None), told.append)
    assert told[-1] == 200


class _Broken(logging.Handler):
    """Lets a mistake of the demo through, as KafkaHandler would not."""

    def handle(self, record):
        raise ZeroDivisionError


def test_a_failing_thread_is_not_hidden(recorder):
    """What goes wrong in a thread is raised where the phase was opened, and no thread stays."""
    before = threading.active_count()
    broken = _Broken()
    logging.getLogger("shop").addHandler(broken)
    try:
        with pytest.raises(ZeroDivisionError):
            Shop(threads=3, seed=1).open(Phase("flat out", 0, 1_000, None), _ignore)
    finally:
        logging.getLogger("shop").removeHandler(broken)
    assert threading.active_count() == before
