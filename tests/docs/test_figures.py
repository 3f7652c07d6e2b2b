"""Figures of the README that a test can measure."""

from __future__ import annotations

import logging
from contextlib import closing

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.proof.headers import NAMES
from kiel_logging.testing import FakeKafka
from kiel_logging.wire.compression import codec
from kiel_logging.wire.record_batch import Record, encode_batch
from tests.docs.pages import ROOT

RECORDS = 1_000


def shipped(**options: object) -> list[Record]:
    """A thousand short records, as the handler ships them."""
    with FakeKafka(1) as cluster:
        cluster.add_topic("t")
        handler = KafkaHandler(cluster.addresses, "t", **options)
        logger = logging.Logger("shop")
        logger.addHandler(handler)
        with closing(handler):
            for number in range(RECORDS):
                logger.info("order %d placed", number)
        stored = cluster.records("t")[0]
    return [Record(one.key, one.value, one.headers, one.timestamp) for one in stored]


def size(records: list[Record]) -> float:
    """Bytes of a record in a batch, behind snappy."""
    return len(encode_batch(records, codec=codec("snappy"))) / len(records)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "which takes 9 bytes behind snappy"),
        ({"chain": True, "chain_key": "secret of 16 bytes"}, "48 bytes together"),
    ],
)
def test_the_size_of_numbers_and_chain(options: dict[str, object], said: str) -> None:
    """It is the README's, within two bytes."""
    records = shipped(**options)
    plain = [
        one._replace(headers=tuple(each for each in one.headers if each[0] not in NAMES))
        for one in records
    ]
    (figure,) = [int(word) for word in said.split() if word.isdecimal()]
    assert size(records) - size(plain) == pytest.approx(figure, abs=2)
    assert said in " ".join((ROOT / "README.rst").read_text().split())
