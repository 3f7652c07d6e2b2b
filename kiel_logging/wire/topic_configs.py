"""The DescribeConfigs request and response, for the one value that errors should name.

Source: https://kafka.apache.org/protocol#The_Messages_DescribeConfigs
"""

from typing import Final

from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

_TOPIC: Final = 2
_MAX_MESSAGE_BYTES: Final = "max.message.bytes"


def max_message_bytes_request(version: int, topic: str) -> Request:
    """Return the request for the most bytes that ``topic`` takes in a batch."""
    resource = {
        "resource_type": _TOPIC,
        "resource_name": topic,
        "configuration_keys": (_MAX_MESSAGE_BYTES,),
    }
    return Request(Api.DESCRIBE_CONFIGS, version, {"resources": (resource,)})


def read_max_message_bytes(response: Message) -> int | None:
    """Return the value; None where the broker does not give it (this client may not ask)."""
    for result in response["results"]:
        if result["error_code"] == ErrorCode.none:
            for config in result["configs"]:
                name, value = config["name"], config["value"] or ""
                if name == _MAX_MESSAGE_BYTES and value.isdecimal():
                    return int(value)
    return None
