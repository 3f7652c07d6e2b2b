"""Children that are spawned: they get the configuration, not the handler, and configure logging."""

from __future__ import annotations

import copy
import logging.config
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, MakeHandler, stored
from tests.handler.with_logging import child


@pytest.fixture
def config(cluster: FakeKafka) -> dict[str, Any]:
    """Names, numbers and texts: what a text file may hold can be sent to a child."""
    kafka = {"class": "kiel_logging.KafkaHandler", "brokers": cluster.addresses, "topic": "logs"}
    return {
        "version": 1,
        "handlers": {"kafka": {**kafka, **QUICK, "linger_ms": 60_000, "fields": {"part": "child"}}},
        "root": {"handlers": ["kafka"], "level": "INFO"},
    }


def test_a_pool(cluster: FakeKafka, config: dict[str, Any]) -> None:
    """Its initializer is dictConfig; what a worker logged is delivered when it ends."""
    spawn = multiprocessing.get_context("spawn")
    pool = spawn.Pool(1, initializer=logging.config.dictConfig, initargs=(config,))
    pool.map(child.log, ["a", "b", "c"])
    pool.close()
    pool.join()
    found = stored(cluster)
    assert [fields["message"] for fields in found] == ["a", "b", "c"]
    assert all(fields["process_name"].startswith("SpawnPoolWorker-") for fields in found)


@pytest.mark.slow
def test_an_executor(cluster: FakeKafka, config: dict[str, Any]) -> None:
    """The same by concurrent.futures."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, mp_context=spawn, initializer=logging.config.dictConfig, initargs=(config,)
    ) as executor:
        list(executor.map(child.log, ["a", "b", "c"]))
    assert [(f["message"], f["part"]) for f in stored(cluster)] == [
        (message, "child") for message in "abc"
    ]


@pytest.mark.parametrize("of", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_the_handler_itself_can_not_be_sent(make_handler: MakeHandler, of: Any) -> None:
    """It has locks and a thread, as most handlers do, and says so."""
    refusals = (TypeError, AttributeError, pickle.PicklingError)  # by Python's version
    with pytest.raises(refusals, match=r"pickle|Can't get local object"):
        of(make_handler())
