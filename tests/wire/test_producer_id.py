"""The InitProducerId request in every version that is spoken."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response
from kiel_logging.wire.producer_id import init_producer_id_request, read_producer_id
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import read_by_kio, to_frame

VERSIONS = range(
    SUPPORTED[Api.INIT_PRODUCER_ID].lowest, SUPPORTED[Api.INIT_PRODUCER_ID].highest + 1
)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_id_without_a_transaction_is_asked_for(version: int) -> None:
    """Null is no transactional id; -1 says that there is no producer id yet (KIP-360)."""
    read = read_by_kio(init_producer_id_request(version))
    assert read.transactional_id is None
    assert read.transaction_timeout.total_seconds() > 0
    assert getattr(read, "producer_id", -1) == -1
    assert getattr(read, "producer_epoch", -1) == -1


def granted(producer_id: int, epoch: int, error: ErrorCode = ErrorCode.none) -> Any:
    """A broker's answer, written by kio and read by us."""
    version = VERSIONS[-1]
    schema = response_module(Api.INIT_PRODUCER_ID, version).InitProducerIdResponse
    response = make(
        schema,
        throttle_time=datetime.timedelta(0),
        error_code=error,
        producer_id=producer_id,
        producer_epoch=epoch,
    )
    return decode_response(to_frame(response), Api.INIT_PRODUCER_ID, version)


def test_a_producer_id_that_makes_sense() -> None:
    """And an error, which has none."""
    assert read_producer_id(granted(0, 0)).producer_id == 0
    refused = granted(-1, -1, ErrorCode.coordinator_load_in_progress)
    assert read_producer_id(refused) == (ErrorCode.coordinator_load_in_progress, -1, -1)


@pytest.mark.parametrize(("producer_id", "epoch"), [(-1, 0), (7, -1), (-(2**63), -(2**15))])
def test_a_producer_id_that_there_can_not_be(producer_id: int, epoch: int) -> None:
    """Batches with it would be without idempotence, whatever was asked for."""
    with pytest.raises(ProtocolError, match="negative"):
        read_producer_id(granted(producer_id, epoch))
