"""The DescribeConfigs request and response, for the one value that errors should name.

Source: https://kafka.apache.org/protocol#The_Messages_DescribeConfigs
"""

from typing import Any, Final

from kio.schema.errors import ErrorCode

from kiel_logging.wire.messages import Api, request_module

_TOPIC: Final = 2
_MAX_MESSAGE_BYTES: Final = "max.message.bytes"


def max_message_bytes_request(version: int, topic: str) -> Any:
    """Return the request for the most bytes that ``topic`` takes in a batch."""
    module = request_module(Api.DESCRIBE_CONFIGS, version)
    resource = module.DescribeConfigsResource(
        resource_type=_TOPIC, resource_name=topic, configuration_keys=(_MAX_MESSAGE_BYTES,)
    )
    return module.DescribeConfigsRequest(resources=(resource,))


def read_max_message_bytes(response: Any) -> int | None:
    """Return the value; None when the broker did not tell (this client may not ask)."""
    for result in response.results:
        if result.error_code == ErrorCode.none:
            for config in result.configs:
                if config.name == _MAX_MESSAGE_BYTES and (config.value or "").isdecimal():
                    return int(config.value)
    return None
