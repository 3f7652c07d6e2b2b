"""The DescribeConfigs request and response, for a topic's max.message.bytes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.topic_configs import max_message_bytes_request, read_max_message_bytes
from kiel_logging.wire.versions import SUPPORTED
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import read_by_kio, to_frame

VERSIONS = range(
    SUPPORTED[Api.DESCRIBE_CONFIGS].lowest, SUPPORTED[Api.DESCRIBE_CONFIGS].highest + 1
)
every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
def test_one_value_of_one_topic_is_asked_for(version: int) -> None:
    """2 is a topic, as Kafka numbers its resources."""
    (resource,) = read_by_kio(max_message_bytes_request(version, "logs")).resources
    assert (resource.resource_type, resource.resource_name) == (2, "logs")
    assert resource.configuration_keys == ("max.message.bytes",)


def answered(version: int, error: ErrorCode = ErrorCode.none, **configs: str | None) -> int | None:
    """What is read from a broker's answer with these values."""
    module = response_module(Api.DESCRIBE_CONFIGS, version)
    values = tuple(
        make(
            module.DescribeConfigsResourceResult,
            name=name.replace("_", "."),
            value=value,
            read_only=False,
            is_sensitive=False,
            synonyms=(),
            documentation=None,
        )
        for name, value in configs.items()
    )
    result = make(
        module.DescribeConfigsResult,
        error_code=error,
        error_message=None,
        resource_type=2,
        resource_name="logs",
        configs=values,
    )
    response: Any = module.DescribeConfigsResponse(
        throttle_time=datetime.timedelta(0), results=(result,)
    )
    frame = to_frame(response)
    return read_max_message_bytes(decode_response(frame, Api.DESCRIBE_CONFIGS, version))


@every_version
def test_the_value_is_read(version: int) -> None:
    """Among others, if there are any."""
    assert answered(version, retention_ms="1", max_message_bytes="1048588") == 1_048_588


@every_version
def test_a_broker_that_does_not_tell(version: int) -> None:
    """An error, another value, or none at all."""
    refused = answered(version, ErrorCode.topic_authorization_failed, max_message_bytes="7")
    assert refused is None
    assert answered(version, retention_ms="1") is None
    assert answered(version, max_message_bytes=None) is None
