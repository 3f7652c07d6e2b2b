"""Streams change the key of their chain, at a record that is sealed with both keys."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof.chain import Chain
from kiel_logging.testing import FakeKafka
from kiel_logging.verify.names import Proof, State
from tests.handler.process.child import run_by_hand
from tests.handler.shipped import (
    QUICK,
    MakeHandler,
    logger_to,
    messages,
    start_broker,
    stop_broker,
    stored_records,
)
from tests.support.examples import combinations
from tests.support.stamps import audited, harm, marks

KEYS = ("the first of the keys", "the second of the keys", "the third of the keys")
SECRETS = tuple(map(str.encode, KEYS))
KEYED: dict[str, Any] = {"chain": True, "chain_key": KEYS[0]}


def findings(cluster: FakeKafka, *secrets: bytes, topic: str = "logs") -> dict[str, int]:
    """What `verify` finds with these keys."""
    return harm(audited(cluster.records(topic), secret=secrets, topic=topic))


def test_a_stream_stays_one_over_rotations(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any]
) -> None:
    """With all keys it is complete. With some of them the records of the others are not checked,
    and nothing is held against it."""
    cluster.add_topic("shop", 3)
    handler = make_handler("shop", key_field="user", **KEYED, **spooled)
    for turn, key in enumerate(KEYS):
        if turn:
            assert handler.rotate_key(key)
            assert not handler.rotate_key(key)
        for number in range(100):
            logger_to(handler).info("%d", number, extra={"user": number % 7})
        handler.flush()
    handler.close()
    verdict = audited(cluster.records("shop"), secret=SECRETS, topic="shop")
    assert harm(verdict) == {}
    assert (verdict.proof, len(verdict.streams)) == (Proof.KEY, 1)
    assert sum("event" in marks(one) for one in stored_records(cluster, "shop")) == 4
    for some in (SECRETS[:1], SECRETS[1:2], SECRETS[2:], SECRETS[:2], SECRETS[1:]):
        partly = audited(cluster.records("shop"), secret=some, topic="shop")
        assert partly.counts().keys() == {"other_key"}
        assert partly.state(strict=True) is State.UNCHECKED


def test_topics_that_begin_later_begin_with_the_new_key(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any]
) -> None:
    """The others change to it, without a further record of the program."""
    cluster.add_topic("later", 1)
    handler = make_handler("{topic}", **KEYED, **spooled)
    logger_to(handler).info("x", extra={"topic": "logs"})
    handler.flush()
    handler.rotate_key(KEYS[1])
    logger_to(handler).info("x", extra={"topic": "later"})
    handler.close()
    assert findings(cluster, *SECRETS[:2]) == {}
    assert findings(cluster, SECRETS[1], topic="later") == {}
    events = [marks(one) for one in stored_records(cluster) if "event" in marks(one)]
    assert [one["event"] for one in events] == ["start", "rotation", "end"]
    ids = [Chain.of(secret).key_id for secret in SECRETS[:2]]
    assert json.loads(events[1]["details"]) == dict(zip(("from", "to"), ids, strict=True))


def test_the_file_is_read_again(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """Without an argument; the handler that opens again has the new key as well."""
    path = tmp_path / "key"
    path.write_text(KEYS[0])
    handler = make_handler(chain=True, chain_key=[{"file": str(path)}])
    logger_to(handler).info("x")
    handler.flush()
    path.write_text(KEYS[1])
    assert handler.rotate_key()
    handler.close()
    logger_to(handler).info("y")
    handler.close()
    verdict = audited(cluster.records("logs"), secret=SECRETS)
    assert harm(verdict) == {}
    assert len(verdict.streams) == 2
    assert {"other_key"} == findings(cluster, SECRETS[1]).keys()


def test_signatures_cover_a_rotation(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The trees and digests of checkpoints are those that the verifier computes."""
    handler = make_handler("logs", sign=True, **KEYED)
    for key in KEYS[1:]:
        logger_to(handler).info("x")
        handler.flush()
        handler.rotate_key(key)
    handler.close()
    assert findings(cluster, *SECRETS) == {}


# -- crashes ---------------------------------------------------------------------------------------

CRASHES: dict[str, tuple[str, Sequence[str]]] = {
    "in front of it, sent": ("log.info('x'); flush()", KEYS[:1]),
    "behind it, unsent": ("log.info('x'); handler.rotate_key({new!r}); log.info('y')", KEYS[1::-1]),
    "behind it, sent": (
        "log.info('x'); flush(); handler.rotate_key({new!r}); log.info('y'); flush()",
        KEYS[1::-1],
    ),
}
"""The acts of a program before it is killed, and the keys of the next one."""


@combinations(crash=CRASHES, brokers={"there": "there", "away": "away"})
def test_a_crash_around_a_rotation(
    cluster: FakeKafka, tmp_path: Path, crash: tuple[str, Sequence[str]], brokers: str
) -> None:
    """The next process seals each record with the key that the first one had for it."""
    code, keys = crash
    if brokers == "away":
        stop_broker(cluster)
    code = code.format(new=KEYS[1]).replace("flush()", "handler.flush(); log.info('z')")
    code = f"handler = make(); {code}; os.kill(os.getpid(), 9)"
    always = {"spool": "always", "spool_dir": str(tmp_path), "close_timeout_ms": 200, **KEYED}
    killed = run_by_hand(code, brokers=cluster.addresses, **always)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if brokers == "away":
        start_broker(cluster)
    successor = {**QUICK, **always, "chain_key": list(keys), "close_timeout_ms": 10_000}
    with closing(KafkaHandler(cluster.addresses, "logs", **successor)) as handler:
        logger_to(handler).info("next")
        assert handler.flush(20) == 0
    assert findings(cluster, *SECRETS).keys() <= {"repeated"}
    logged = re.findall(r"info\('(\w)'\)", code)
    assert set(messages(cluster)) == {*logged, "next"}


def test_the_old_key_may_go_once_its_records_are_sent(
    cluster: FakeKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then the next process says which key it lacks, and leaves the files."""
    stop_broker(cluster)
    code = "handler = make(); log.info('x'); handler.rotate_key({new!r}); log.info('y')"
    always = {"spool": "always", "spool_dir": str(tmp_path), "close_timeout_ms": 200, **KEYED}
    code = f"{code.format(new=KEYS[1])}; os.kill(os.getpid(), 9)"
    run_by_hand(code, brokers=cluster.addresses, **always)
    start_broker(cluster)
    for keys, sent in (([KEYS[1]], False), ([KEYS[0]], False), ([KEYS[1], KEYS[0]], True)):
        successor = {**QUICK, **always, "chain_key": keys, "close_timeout_ms": 10_000}
        with closing(KafkaHandler(cluster.addresses, "logs", **successor)) as handler:
            handler.flush(20)
        assert ("x" in messages(cluster)) is sent
        told = capsys.readouterr().err
        missing = {Chain.of(one).key_id for one in SECRETS[:2]} - {
            Chain.of(one.encode()).key_id for one in keys
        }
        assert all(f"another chain_key ({one})" in told for one in missing), told
    assert findings(cluster, *SECRETS) == {}


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "new", "words"),
    [
        ({"chain": True}, KEYS[1], "needs a handler with a chain_key"),
        ({}, KEYS[1], "needs a handler with a chain_key"),
        (KEYED, "short", "fewer than 16 bytes"),
        (KEYED, {"file": "/no/such/file"}, "can't be read"),
        ({**KEYED, "chain_key": list(KEYS)}, KEYS[2], "is a former one of this handler"),
    ],
)
def test_a_key_that_can_not_be_taken(
    make_handler: MakeHandler, given: dict[str, Any], new: Any, words: str
) -> None:
    """The handler keeps the one that it has."""
    with pytest.raises(ConfigurationError, match=words):
        make_handler(**given).rotate_key(new)


@pytest.mark.parametrize("keys", [[], ["short"], [KEYS[0], 7]])
def test_a_list_that_is_none_of_keys(make_handler: MakeHandler, keys: Any) -> None:
    """Each has to be a key, and there has to be one."""
    with pytest.raises(ConfigurationError, match="chain_key"):
        make_handler(chain=True, chain_key=keys)
