"""Flood control: what options leave out is counted, reported in the stream, and called no loss."""

from __future__ import annotations

import json
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging import AuditHandler, SpoolHandler
from kiel_logging.configuration import from_environment
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler import record_handler
from kiel_logging.handler.ledger import PERIOD
from kiel_logging.handler.limits import (
    MOST_KNOWN,
    Buckets,
    Duplicates,
    Rate,
    is_sampled,
    parse_rate,
)
from kiel_logging.handler.options import handler_options
from kiel_logging.handler.spool import append_pipeline
from kiel_logging.native import monotonic
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    Collecting,
    MakeHandler,
    fail,
    logger_to,
    messages,
    stored,
    summaries,
    total,
)
from tests.handler.test_spool_handler import events
from tests.handler.test_spool_handler import messages as messages_in

# -- the logic -----------------------------------------------------------------------------------

EIGHTHS = st.integers(1, 40).map(lambda number: number / 8)
"""Seconds that floats add up exactly."""


@given(st.integers(1, 5), EIGHTHS, st.lists(st.tuples(st.sampled_from("ab"), EIGHTHS)))
def test_the_law_of_the_token_bucket(
    burst: int, interval: float, calls: list[tuple[str, float]]
) -> None:
    """A site has at most a burst of tokens, gets one in each interval, and gives one to each
    record that passes; sites don't know of each other."""
    buckets, now = Buckets(Rate(burst, interval)), 1_000.0
    tokens: dict[str, tuple[Fraction, float]] = {}
    for site, pause in calls:
        now += pause
        left, at = tokens.get(site, (Fraction(burst), now))
        left = min(Fraction(burst), left + Fraction(now - at) / Fraction(interval))
        assert buckets.take(hash(site), now) is (left >= 1)
        tokens[site] = (left - 1 if left >= 1 else left), now


def test_sites_beyond_counting_share_a_bucket() -> None:
    """Memory is bounded. Buckets that are full again make room."""
    buckets = Buckets(Rate(2, 1.0))
    assert all(buckets.take(site, 10.0) for site in range(1, MOST_KNOWN + 1))
    assert [buckets.take(-site, 10.0) for site in range(1, 5)] == [True, True, False, False]
    assert [buckets.take(-7, 12.0) for _ in range(3)] == [True, True, False]


@given(st.binary(), st.floats(0, 1), st.floats(0, 1))
def test_a_key_is_in_or_out(key: bytes, one: float, other: float) -> None:
    """Nothing but the key decides, and a larger share has all keys of a smaller one."""
    less, more = sorted((one, other))
    assert not is_sampled(less, key, fail) or is_sampled(more, key, fail)
    assert is_sampled(1.0, key, fail)
    assert not is_sampled(0.0, key, fail)


def test_the_share_of_keys_is_as_asked_for() -> None:
    """Also of keys that are counted up."""
    keys = [b"user-%d" % number for number in range(10_000)]
    assert 900 < sum(is_sampled(0.1, key, fail) for key in keys) < 1_100
    draws = iter((0.05, 0.1, 0.9))
    assert [is_sampled(0.1, None, lambda: next(draws)) for _ in range(3)] == [True, False, False]


def test_what_is_a_repeat() -> None:
    """A record is, for some seconds after the one that was shipped; that says how many there
    were. Memory is bounded: of too many different records none is."""
    duplicates = Duplicates(10.0)
    assert not duplicates.is_repeat(1, 0.0)  # and is left out for another reason
    assert not duplicates.is_repeat(1, 0.0)
    assert duplicates.ship(1, 0.0) == 0
    assert [duplicates.is_repeat(1, now) for now in (0.0, 5.0, 9.9, 10.0)] == [True] * 3 + [False]
    assert not duplicates.is_repeat(2, 9.9)
    assert [duplicates.ship(1, 10.0), duplicates.ship(1, 20.0)] == [3, 0]
    assert all(duplicates.ship(number, 30.0) == 0 for number in range(3 * MOST_KNOWN))
    assert duplicates.is_repeat(MOST_KNOWN - 2, 31.0)
    assert not duplicates.is_repeat(3 * MOST_KNOWN - 1, 31.0)


# -- the options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", Rate(100, 0.01)),
        ("6000/m burst 500", Rate(500, 0.01)),
        ("1/h", Rate(1, 3600.0)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    """A rate without a burst has that of one unit."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "option",
    [{"rate_limit": "1/s"}, {"sample": {"INFO": 1}}, {"dedupe": 1}, {"before_send": dict}],
    ids=str,
)
def test_an_audit_stream_leaves_nothing_out(option: dict[str, Any], tmp_path: Path) -> None:
    """AuditHandler refuses these options."""
    with pytest.raises(ConfigurationError, match="an audit stream leaves nothing out"):
        AuditHandler("127.0.0.1:9", "logs", spool_dir=tmp_path, **option)


def test_the_environment_has_them() -> None:
    """As it has other options; a callable can't be written there."""
    variables = {
        "KIEL_LOGGING_RATE_LIMIT": "100/s burst 5",
        "KIEL_LOGGING_SAMPLE": "DEBUG=0.01, INFO=0.1",
        "KIEL_LOGGING_DEDUPE": "2.5",
    }
    found = from_environment(variables)
    assert found == {
        "rate_limit": "100/s burst 5",
        "sample": {"DEBUG": 0.01, "INFO": 0.1},
        "dedupe": 2.5,
    }
    handler_options(brokers="127.0.0.1:9", topic="logs", **found)
    for name, value in (("SAMPLE", "DEBUG"), ("SAMPLE", "DEBUG=a"), ("BEFORE_SEND", "x")):
        with pytest.raises(ConfigurationError, match=f"KIEL_LOGGING_{name}"):
            from_environment({f"KIEL_LOGGING_{name}": value})


# -- a handler with limits -----------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which limits are judged; it stands still."""
    now = [1_000.0]
    monkeypatch.setattr(record_handler, "monotonic", lambda: now[0])
    return now


def flood(logger: logging.Logger) -> None:
    """Log two keys from a site, and others from another one."""
    for number in range(40):
        user = f"user-{number // 2}"
        logger.debug("look at %d", number % 3, extra={"user": user})
        logger.info("paid", extra={"user": user})
    logger.error("another site", extra={"user": "user-1"})


LIMITS: dict[str, dict[str, Any]] = {
    "rate_limit": {"rate_limit": "3/h"},
    "sample by key": {"sample": {"DEBUG": 0.3}, "key_field": "user"},
    "sample": {"sample": {"DEBUG": 0, "INFO": 1}},
    "dedupe": {"dedupe": 60},
    "all": {
        "rate_limit": "30/h burst 2",
        "sample": {"DEBUG": 0.5, "INFO": 1},
        "dedupe": 60,
        "key_field": "user",
    },
}


@pytest.mark.parametrize("options", LIMITS.values(), ids=LIMITS)
def test_compiled_code_and_python_leave_out_the_same(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    clock: list[float],
    options: dict[str, Any],
) -> None:
    """Each record is shipped, or counted with its reason; the stream reports how many are not."""
    compiled, careful = make_handler("compiled", **options), make_handler("careful", **options)
    careful.setFormatter(logging.Formatter("%(message)s"))
    shipped = []
    for handler, topic in ((compiled, "compiled"), (careful, "careful")):
        now, clock[0] = clock[0], 1_000.0
        for _ in range(2):
            flood(logger_to(handler))
            clock[0] += 120
        clock[0] = now
        handler.close()
        fields = stored(cluster, topic)
        made = [one for one in fields if one["logger"] == "shop.cart"]
        shipped.append([(one["message"], one["user"], one.get("repeats")) for one in made])
        stats = handler.stats()
        assert total(stats) == stats.emitted
        assert len(made) + stats.left_out_total == 162
        assert [one["left_out"] for one in summaries(cluster, topic)] == [stats.left_out]
        assert set(stats.left_out) <= {*options}
    assert shipped[0] == shipped[1]
    assert ("another site", "user-1", None) in shipped[0]
    assert (("paid", "user-0", 39) in shipped[0]) is ("dedupe" in options)
    assert compiled.stats().left_out == careful.stats().left_out != {}


def test_each_call_site_has_its_own_rate(
    cluster: FakeKafka, make_handler: MakeHandler, clock: list[float]
) -> None:
    """Tokens come back with time."""
    handler = make_handler(rate_limit="2/m")
    logger = logger_to(handler)
    for pause in (0, 0, 0, 30, 1):
        clock[0] += pause
        logger.info("often %s", clock[0])
        logger.info("often as well")
    handler.close()
    assert messages(cluster).count("often as well") == 3
    assert len(messages(cluster)) == 6


def test_an_omission_is_no_loss(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is not reported on stderr, to on_error, or to the fallback, and the handler is well."""
    fallback, errors = Collecting(), list[Any]()
    handler = make_handler(
        sample={"INFO": 0}, fallback=fallback, on_error=lambda *error: errors.append(error)
    )
    logger = logger_to(handler)
    for _ in range(10):
        logger.info("x")
    logger.error("y")
    assert handler.flush() == 0
    assert handler.health().status == "ok"
    assert handler.stats().undelivered == 0
    handler.close()
    [summary] = summaries(cluster)
    assert summary["level"] == "INFO"
    assert summary["message"].startswith("left out 10: INFO 10, sample, from ")
    assert fallback.records == errors == []
    assert "kiel_logging" not in capfd.readouterr().err


def test_the_stream_reports_omissions_while_it_runs(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Also if no record is shipped any more."""
    handler = make_handler(rate_limit="1/h")
    logger = logger_to(handler)
    for number in range(2):
        logger.info("x")
        if number == 0:
            handler.flush()
    cluster.stored("logs", 2)
    assert summaries(cluster)[0]["left_out"] == {"rate_limit": {"INFO": 1}}


def test_a_record_that_can_not_be_judged_is_shipped(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Such as one whose arguments don't fit; an extra of the program's own name keeps its value."""
    handler = make_handler(dedupe=3600, rate_limit="9/h")
    logger = logger_to(handler)
    for _ in range(2):
        logger.info("%d", "x")
    handler.emit(logging.makeLogRecord({"msg": "no site", "name": ["shop.cart"]}))
    handler.close()
    assert len(stored(cluster)) == 3
    assert not handler.stats().left_out


def test_a_spool_handler_has_limits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream on disk reports what is left out: with a later record, and when it ends."""
    handler = SpoolHandler(tmp_path, "logs", rate_limit="2/h", before_send=dict)
    for number in range(5):
        logger_to(handler).info(number)
    assert handler.stats().left_out == {"rate_limit": {"INFO": 3}}
    assert handler.health().status == "ok"
    assert events(tmp_path) == []
    later = monotonic() + PERIOD
    monkeypatch.setattr(append_pipeline, "monotonic", lambda: later)
    for _ in range(4):
        logger_to(handler).info("later")
    assert events(tmp_path) == ["omissions"]
    handler.close()
    assert messages_in(tmp_path) == ["0", "1", "later", "later"]
    assert events(tmp_path) == ["omissions"] * 2


# -- before_send ---------------------------------------------------------------------------------


def test_before_send_has_the_last_look(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It sees plain fields without what is hidden, which are no part of the LogRecord; what it
    returns is redacted again, and has the key. The handler's own records don't come to it."""
    seen: list[dict[str, Any]] = []

    def look(fields: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(json.loads(json.dumps(fields)))
        if fields["message"] == "drop me":
            return None
        fields["cart"]["items"].append("cup")
        return {**fields, "user": fields["user"].upper(), "more": {"password": "x", "at": {1}}}

    handler = make_handler(before_send=look, key_field="user", redact=["password"])
    logger, cart = logger_to(handler), {"items": ["tea"], "password": "secret"}
    logger.info("sold", extra={"user": "ada", "cart": cart})
    logger.error("drop me")
    handler.close()
    assert cart == {"items": ["tea"], "password": "secret"}
    assert [one["message"] for one in seen] == ["sold", "drop me"]
    assert seen[0]["cart"] == {"items": ["tea"], "password": "[redacted]"}
    sold, summary = stored(cluster)
    assert sold["cart"] == {"items": ["tea", "cup"], "password": "[redacted]"}
    assert sold["more"] == {"password": "[redacted]", "at": [1]}
    assert [record.key for record in cluster.records("logs")[0]] == [b"ADA", None]
    assert summary["left_out"] == {"before_send": {"ERROR": 1}} == handler.stats().left_out


def test_before_send_changes_no_value_of_the_program(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Values inside of others are copies."""

    def look(fields: dict[str, Any]) -> dict[str, Any]:
        fields["cart"]["items"].clear()
        return fields

    handler, cart = make_handler(before_send=look), {"items": ["tea"]}
    logger_to(handler).info("sold", extra={"cart": cart})
    handler.close()
    assert cart == {"items": ["tea"]}
    assert stored(cluster)[0]["cart"] == {"items": []}
