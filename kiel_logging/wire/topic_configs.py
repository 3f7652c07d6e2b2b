"""The DescribeConfigs request and response, for what a topic's settings say.

Source: https://kafka.apache.org/protocol#The_Messages_DescribeConfigs
"""

from collections.abc import Mapping
from typing import Final

from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

MAX_MESSAGE_BYTES: Final = "max.message.bytes"

_TOPIC: Final = 2


def topic_configs_request(version: int, topic: str, *names: str) -> Request:
    """Return the request for settings of ``topic``."""
    resource = {
        "resource_type": _TOPIC,
        "resource_name": topic,
        "configuration_keys": names,
    }
    return Request(Api.DESCRIBE_CONFIGS, version, {"resources": (resource,)})


def read_topic_configs(response: Message) -> Mapping[str, str] | ErrorCode | int:
    """Return the settings that have a value, or the error in their place."""
    error: ErrorCode | int = ErrorCode.unknown_server_error
    for result in response["results"]:
        if (error := result["error_code"]) == ErrorCode.none:
            return {one["name"]: one["value"] for one in result["configs"] if one["value"]}
    return error


def max_message_bytes_request(version: int, topic: str) -> Request:
    """Return the request for the most bytes that ``topic`` takes in a batch."""
    return topic_configs_request(version, topic, MAX_MESSAGE_BYTES)


def read_max_message_bytes(response: Message) -> int | None:
    """Return the value; None where the broker does not give it (this client may not ask)."""
    found = read_topic_configs(response)
    value = found.get(MAX_MESSAGE_BYTES, "") if isinstance(found, Mapping) else ""
    return int(value) if value.isdecimal() else None
