"""Frames as a broker sees them: bytes to requests, and responses to bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.codec import Message, request_codec, response_codec, skip_tagged
from kiel_logging.wire.schemas import SCHEMAS
from kiel_logging.wire.schemas import Api as ApiKey

PRODUCE: Final = ApiKey.PRODUCE
FETCH: Final = ApiKey.FETCH
METADATA: Final = ApiKey.METADATA
API_VERSIONS: Final = ApiKey.API_VERSIONS
INIT_PRODUCER_ID: Final = ApiKey.INIT_PRODUCER_ID
DESCRIBE_CONFIGS: Final = ApiKey.DESCRIBE_CONFIGS
DESCRIBE_QUORUM: Final = ApiKey.DESCRIBE_QUORUM
SASL_HANDSHAKE: Final = ApiKey.SASL_HANDSHAKE
SASL_AUTHENTICATE: Final = ApiKey.SASL_AUTHENTICATE

Versions = dict[int, tuple[int, int]]
Api = int | str
"""An API by its key, or by its name: "Produce", "init_producer_id"."""

_PREFIX = struct.Struct(">hhi")
_INT16 = struct.Struct(">h")
_LOWEST = {PRODUCE: 3}
"""Brokers take no older record batches, whatever they advertise (KAFKA-18659)."""

_NAMES = {key: "".join(map(str.capitalize, key.name.split("_"))) for key in ApiKey}
_KEYS_BY_NAME = {name.lower(): key for key, name in _NAMES.items()}


class UnreadableRequestError(Exception):
    """The client sent bytes that no broker would parse; a broker hangs up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """A decoded request; `payload` is None for an ApiVersions version we do not know."""

    api: str
    api_key: int
    version: int
    correlation_id: int
    client_id: str | None
    payload: Any
    """The fields by Kafka's names: ``payload["topic_data"][0]["name"]``."""
    node_id: int
    connection: int
    """Counts the connections of its broker: 0 is the first."""
    trailing: int
    """Bytes behind the payload: Kafka ignores them, and librdkafka sends some."""

    def encode(self, response: Message, correlation_shift: int = 0) -> bytes:
        """Return the frame of a response to this request, with its length."""
        # A version of ApiVersions that the broker does not know is answered in version 0 (KIP-511).
        version = 0 if self.payload is None else self.version
        correlation_id = self.correlation_id + correlation_shift
        return encode_response(self.api_key, version, response, correlation_id)


def api_key_of(api: Api) -> int:
    """Return the key of an API."""
    return api if isinstance(api, int) else _KEYS_BY_NAME[api.replace("_", "").lower()]


def decode_request(
    frame: bytes, versions: Versions, *, node_id: int, connection: int
) -> ReceivedRequest:
    """Decode one frame (without its length) that must hold a request in `versions`."""
    if len(frame) < _PREFIX.size:
        raise UnreadableRequestError(f"a frame of {len(frame)} bytes has no request header")
    key, version, correlation_id = _PREFIX.unpack_from(frame)
    client_id, payload, trailing = None, None, 0
    if _is_served(key, version, versions):
        client_id, payload, trailing = _decode(frame, ApiKey(key), version)
    elif key != API_VERSIONS:
        raise UnreadableRequestError(f"API {key} is not served in version {version}")
    return ReceivedRequest(
        api=_NAMES[ApiKey(key)],
        api_key=key,
        version=version,
        correlation_id=correlation_id,
        client_id=client_id,
        payload=payload,
        node_id=node_id,
        connection=connection,
        trailing=trailing,
    )


def _is_served(key: int, version: int, versions: Versions) -> bool:
    lowest, highest = versions.get(key, (0, -1))
    return key in SCHEMAS and max(lowest, _LOWEST.get(ApiKey(key), 0)) <= version <= highest


def _decode(frame: bytes, api: ApiKey, version: int) -> tuple[str | None, Message, int]:
    try:
        (length,) = _INT16.unpack_from(frame, _PREFIX.size)
        start = _PREFIX.size + _INT16.size
        offset = start + max(0, length)
        client_id = None if length < 0 else frame[start:offset].decode()
        if version >= SCHEMAS[api].flexible:
            offset = skip_tagged(frame, offset)
        payload, end = request_codec(api, version).read(frame, offset)
    except (ProtocolError, struct.error, IndexError, UnicodeDecodeError) as error:
        what = f"{_NAMES[api]} v{version}"
        raise UnreadableRequestError(f"{what} does not parse: {error!r}") from error
    return client_id, payload, len(frame) - end


def encode_response(api_key: int, version: int, response: Message, correlation_id: int) -> bytes:
    """Return the frame of a response, with its length."""
    api = ApiKey(api_key)
    parts = [correlation_id.to_bytes(4, "big", signed=True)]
    # ApiVersions alone has no tagged fields in its header: it comes before the versions do.
    if version >= SCHEMAS[api].flexible and api is not API_VERSIONS:
        parts.append(b"\x00")
    response_codec(api, version).write(response, parts.append)
    body = b"".join(parts)
    return struct.pack(">i", len(body)) + body
