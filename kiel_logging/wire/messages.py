"""Frames: a request or response, with its size and header, to bytes and back.

Each connection negotiates the versions that it speaks (``versions.py``). A broker that lies, or
another program that listens on its port, may announce gigabytes: ``most_bytes()`` limits each
response by what was asked, before a byte of it is kept.

Source: https://kafka.apache.org/protocol#protocol_messages
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.codec import Message, request_codec, response_codec, skip_tagged
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.schemas import SCHEMAS, Api

SIZE: Final = struct.Struct(">i")
# API key, version, correlation id, length of the client id.
_REQUEST_HEADER: Final = struct.Struct(">hhih")
_CORRELATION_ID: Final = struct.Struct(">i")
_ERROR_CODE: Final = struct.Struct(">h")

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of any response: the metadata of 160,000 partitions with three replicas."""

_ANY: Final = 256 * 1024
"""Bytes that any response may have: the metadata of 2,000 brokers."""

_PER_TOPIC: Final = 1024 * 1024
"""Bytes of metadata for each topic that is asked for: 20,000 partitions with three replicas."""

_PER_RECORD: Final = 512
"""Bytes of a Produce response for each record: brokers may say of each why they refuse it."""

# Where a record batch has its number of records (KIP-98): see record_batch.py.
_RECORD_COUNT: Final = slice(57, 61)


class Request(NamedTuple):
    """A request in the version in which it is sent; its fields are named as in ``schemas.py``.

    Fields that the version does not have are left out when it is written. ``whole`` asks for all
    fields of the response, also of elements that are read as tuples of some.
    """

    api: Api
    version: int
    fields: Mapping[str, Any]
    whole: bool = False


def encode_request(request: Request, correlation_id: int, client_id: str) -> bytes:
    """Return the whole frame of ``request``: size, header and message."""
    api, version, fields, _ = request
    name = client_id.encode()
    parts = [b"", _REQUEST_HEADER.pack(api, version, correlation_id, len(name)), name]
    if version >= SCHEMAS[api].flexible:
        parts.append(b"\x00")  # no tagged fields
    request_codec(api, version).write(fields, parts.append)
    parts[0] = SIZE.pack(sum(map(len, parts)))
    return b"".join(parts)


def most_bytes(request: Request) -> int:
    """Return the most bytes that the response to ``request`` may have, without its size."""
    return min(MOST_BYTES, _ANY + _asked(request))


def _asked(request: Request) -> int:
    if request.api is Api.METADATA:
        return _PER_TOPIC * len(request.fields["topics"])
    if request.api is Api.PRODUCE:
        return _PER_RECORD * sum(
            int.from_bytes(partition["records"][_RECORD_COUNT], "big")
            for topic in request.fields["topic_data"]
            for partition in topic["partition_data"]
        )
    return 0


def correlation_id_of(frame: bytes) -> int:
    """Return the correlation id that a response frame (without its size) starts with.

    Raises:
        ProtocolError: the frame is too short to have one.
    """
    if len(frame) < _CORRELATION_ID.size:
        raise ProtocolError(f"a response of {len(frame)} bytes has no correlation id")
    (correlation_id,) = _CORRELATION_ID.unpack_from(frame)
    return int(correlation_id)


def decode_response(frame: bytes, api: Api, version: int, whole: bool = False) -> Message:
    """Return the response in a frame (without its size); ``whole`` as of the request.

    Raises:
        ProtocolError: the bytes are not such a response.
    """
    if api is Api.API_VERSIONS and _is_unsupported_version(frame):
        # Brokers say so in version 0 (KIP-511), or in a dialect of their own (librdkafka's mock
        # cluster), with all, one or none of their versions: the error is what counts.
        return {"error_code": ErrorCode.unsupported_version, "api_keys": ()}
    offset = _CORRELATION_ID.size
    try:
        # ApiVersions alone has no tagged fields in its header: it comes before the versions do.
        if version >= SCHEMAS[api].flexible and api is not Api.API_VERSIONS:
            offset = skip_tagged(frame, offset)
        response, _ = response_codec(api, version, whole).read(frame, offset)
    except (ProtocolError, struct.error, IndexError, UnicodeDecodeError) as cause:
        raise ProtocolError(
            f"a {api.name} v{version} response of {len(frame)} bytes can't be decoded ({cause}); "
            "is this really a Kafka broker's port?"
        ) from cause
    message: Message = response
    return message


def _is_unsupported_version(frame: bytes) -> bool:
    end = _CORRELATION_ID.size + _ERROR_CODE.size
    if len(frame) < end:
        return False
    (code,) = _ERROR_CODE.unpack_from(frame, _CORRELATION_ID.size)
    return bool(code == ErrorCode.unsupported_version)
