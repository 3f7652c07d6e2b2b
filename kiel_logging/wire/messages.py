"""Frames: a request or response of kio's, with its size and header, to bytes and back.

kio knows every version of every message; which one is spoken is decided per connection
(``versions.py``), so the classes are looked up by API and version when first used.

Source: https://kafka.apache.org/protocol#protocol_messages
"""

import io
import struct
from enum import IntEnum
from functools import cache
from operator import attrgetter
from types import ModuleType
from typing import Any, Final

import kio.index
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer
from kio.static.constants import EntityType

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.reader import Shapes, entity_reader

SIZE: Final = struct.Struct(">i")
_CORRELATION_ID: Final = struct.Struct(">i")
_ERROR_CODE: Final = struct.Struct(">h")


class Api(IntEnum):
    """The requests this client sends, by Kafka's API keys."""

    PRODUCE = 0
    METADATA = 3
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    DESCRIBE_CONFIGS = 32
    SASL_AUTHENTICATE = 36


# Metadata has thousands of these. Python's garbage collector, which holds up all threads, visits
# objects of kio's again and again, and plain tuples of numbers and texts only once.
_SHAPES: Final[Shapes] = (
    ("MetadataResponseBroker", attrgetter("node_id", "host", "port")),
    ("MetadataResponsePartition", attrgetter("partition_index", "leader_id", "leader_epoch")),
)


@cache
def request_module(api: Api, version: int) -> ModuleType:
    """Return kio's module of the request: the message and the classes of its parts."""
    return kio.index.load_payload_module(api, version, EntityType.request)


@cache
def _response_type(api: Api, version: int) -> Any:
    return kio.index.load_response_schema(api, version)


def encode_request(request: Any, correlation_id: int, client_id: str) -> bytes:
    """Return the whole frame of ``request``: size, header and message."""
    header_type = request.__header_schema__
    header = header_type(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=correlation_id,
        client_id=client_id,
    )
    buffer = io.BytesIO(bytes(SIZE.size))
    buffer.seek(SIZE.size)
    entity_writer(header_type)(buffer, header)
    entity_writer(type(request))(buffer, request)
    frame = buffer.getbuffer()
    SIZE.pack_into(frame, 0, len(frame) - SIZE.size)
    return bytes(frame)


def correlation_id_of(frame: bytes) -> int:
    """Return the correlation id that a response frame (without its size) starts with.

    Raises:
        ProtocolError: the frame is too short to have one.
    """
    if len(frame) < _CORRELATION_ID.size:
        raise ProtocolError(f"a response of {len(frame)} bytes has no correlation id")
    (correlation_id,) = _CORRELATION_ID.unpack_from(frame)
    return int(correlation_id)


def decode_response(frame: bytes, api: Api, version: int) -> Any:
    """Return the response in a frame (without its size).

    Raises:
        ProtocolError: the bytes are not such a response.
    """
    if api is Api.API_VERSIONS and _is_unsupported_version(frame):
        # Brokers say so in version 0 (KIP-511), or in a dialect of their own (librdkafka's mock
        # cluster), with all, one or none of their versions: the error is what counts.
        return _response_type(api, 0)(error_code=ErrorCode.unsupported_version, api_keys=())
    response_type = _response_type(api, version)
    try:
        _, offset = entity_reader(response_type.__header_schema__).read(frame, 0)
        response, _ = entity_reader(response_type, _SHAPES).read(frame, offset)
    except (ProtocolError, struct.error, IndexError, UnicodeDecodeError) as cause:
        raise ProtocolError(
            f"a {api.name} v{version} response of {len(frame)} bytes can't be decoded ({cause}); "
            "is this really a Kafka broker's port?"
        ) from cause
    return response


def _is_unsupported_version(frame: bytes) -> bool:
    end = _CORRELATION_ID.size + _ERROR_CODE.size
    if len(frame) < end:
        return False
    (code,) = _ERROR_CODE.unpack_from(frame, _CORRELATION_ID.size)
    return bool(code == ErrorCode.unsupported_version)
