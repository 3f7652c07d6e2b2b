"""The InitProducerId request in every version that is spoken."""

from __future__ import annotations

import pytest
from kio.serial import entity_reader as kio_reader

from kiel_logging.wire.messages import Api
from kiel_logging.wire.producer_id import init_producer_id_request
from kiel_logging.wire.versions import SUPPORTED
from tests.wire.kio_messages import to_bytes

VERSIONS = range(
    SUPPORTED[Api.INIT_PRODUCER_ID].lowest, SUPPORTED[Api.INIT_PRODUCER_ID].highest + 1
)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_id_without_a_transaction_is_asked_for(version: int) -> None:
    """Null is no transactional id; -1 says that there is no producer id yet (KIP-360)."""
    request = init_producer_id_request(version)
    raw = to_bytes(request)
    read, size = kio_reader(type(request))(raw, 0)
    assert size == len(raw)
    assert read.transactional_id is None
    assert read.transaction_timeout.total_seconds() > 0
    assert getattr(read, "producer_id", -1) == -1
    assert getattr(read, "producer_epoch", -1) == -1
