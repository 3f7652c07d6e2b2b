"""The threads that log, the phases of a run, and the configuration."""

import logging
import threading

import pytest

from kiel_logging.demo.shop import TOPICS, Phase, Shop, logging_config, plan, topics_of


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


def _run(seed, threads, records):
    shop, phases = Shop(threads, seed), plan(records, rate=100_000)
    for phase in phases:
        shop.open(phase, lambda _: None)
    return phases


def _content(record):
    return record.record_id, record.name, record.levelno, record.getMessage()


def test_every_id_is_logged_once(recorder):
    """All threads together log each record of all phases exactly once."""
    _run(seed=1, threads=3, records=1_000)
    assert sorted(record.record_id for record in recorder.records) == list(range(1_000))


def test_logged_records_are_noted(recorder):
    """The ids noted by topic are those that were logged, an error's in two topics."""
    phases = _run(seed=1, threads=3, records=2_000)
    noted = sorted(place for phase in phases for place in phase.logged)
    logged = sorted(
        (topic, record.record_id)
        for record in recorder.records
        for topic in topics_of(record.name, record.levelno)
    )
    assert noted == logged
    assert {"app", "errors", "audit"} <= {topic for topic, _ in noted}
    assert sum(len(phase.took) for phase in phases) == 2_000


def test_a_seed_repeats_the_run(recorder):
    """Two runs of a seed log the same records."""
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
    phase = Phase("steady", range(50), 500)
    Shop(threads=1, seed=1).open(phase, lambda _: None)
    assert phase.seconds >= 49 / 500


class _Broken(logging.Handler):
    """Lets a mistake of the demo through, as KafkaHandler would not."""

    def handle(self, record):
        raise ZeroDivisionError


def test_a_failing_thread_is_not_hidden(recorder):
    """An exception of a thread is raised where the phase was opened, and no thread stays."""
    before, broken = threading.active_count(), _Broken()
    logging.getLogger("shop").addHandler(broken)
    try:
        with pytest.raises(ZeroDivisionError):
            Shop(threads=3, seed=1).open(Phase("flat out", range(1_000), None), lambda _: None)
    finally:
        logging.getLogger("shop").removeHandler(broken)
    assert threading.active_count() == before


@pytest.mark.parametrize("records", [1, 2, 9, 10, 199, 300, 5_000, 20_000, 1_000_000])
def test_phases_share_out_all_records(records):
    """The ids of the phases follow each other from 0 to the number of records."""
    phases = plan(records, rate=1_000)
    assert [each for phase in phases for each in phase.ids] == list(range(records))


def test_a_usual_run():
    """20,000 records: 100 to connect, two seconds at the rate, the rest flat out."""
    phases = plan(20_000, rate=1_000)
    assert [(phase.name, len(phase.ids), phase.rate) for phase in phases] == [
        ("connecting", 100, 1_000),
        ("steady", 2_000, 1_000),
        ("flat out", 17_900, None),
    ]


def _by_the_config(config, logger, level):
    """Walk up as ``logging`` does, and return the topics that are met."""
    while logger not in config["loggers"]:
        logger = logger.rpartition(".")[0]
    handlers = [config["handlers"][name] for name in config["loggers"][logger]["handlers"]]
    return {
        handler["topic"].format(levelname=logging.getLevelName(level))
        for handler in handlers
        if level >= logging.getLevelNamesMapping()[handler.get("level", "NOTSET")]
    }


def test_records_are_expected_where_the_config_sends_them():
    """For every logger and level, both name the same topics, all of them with the prefix."""
    config = logging_config("a:1,b:2", "snappy", "run-1.")
    assert config["handlers"]["audit"]["brokers"] == ["a:1", "b:2"]
    for logger in ("shop.access", "shop.audit", "shop.cart", "shop.payments"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            topics = topics_of(logger, level)
            assert {f"run-1.{name}" for name in topics} == _by_the_config(config, logger, level)
            assert set(topics) <= set(TOPICS)
