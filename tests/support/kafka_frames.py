"""Kafka requests and responses as bytes, by kio; the broker's half of the conversation."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

from kio.index import KioIndexError, load_payload_module, load_request_schema
from kio.schema.index import api_key_map
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

PRODUCE, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 3, 18, 22
SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36

Versions = dict[int, tuple[int, int]]
Api = int | str | type[Any]
"""An API by its key, its name ("Produce", "init_producer_id") or a request class of kio's."""

_PREFIX = struct.Struct(">hhi")
_KEYS_BY_NAME = {name.replace("_", ""): key for key, name in api_key_map.items()}


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
    node_id: int
    connection: int
    """Counts the connections of its broker: 0 is the first."""
    trailing: int
    """Bytes behind the payload: Kafka ignores them, and librdkafka sends some."""


def api_key_of(api: Api) -> int:
    """Return the key of an API."""
    if isinstance(api, int):
        return api
    if isinstance(api, str):
        return _KEYS_BY_NAME[api.replace("_", "").lower()]
    return int(api.__api_key__)


def api_name(api_key: int) -> str:
    """The name in Kafka's own spelling: 22 is InitProducerId."""
    return "".join(word.capitalize() for word in api_key_map[api_key].split("_"))


def decode_request(
    frame: bytes, versions: Versions, *, node_id: int, connection: int
) -> ReceivedRequest:
    """Decodes one frame (without its length) that must hold a request in `versions`."""
    if len(frame) < _PREFIX.size:
        raise UnreadableRequestError(f"a frame of {len(frame)} bytes has no request header")
    api_key, version, correlation_id = _PREFIX.unpack_from(frame)
    header, payload, trailing = None, None, 0
    if _is_supported(api_key, version, versions):
        header, payload, trailing = _decode(frame, api_key, version)
    elif api_key != API_VERSIONS:
        raise UnreadableRequestError(f"API {api_key} is not served in version {version}")
    return ReceivedRequest(
        api=api_name(api_key),
        api_key=api_key,
        version=version,
        correlation_id=correlation_id,
        client_id=header.client_id if header else None,
        payload=payload,
        node_id=node_id,
        connection=connection,
        trailing=trailing,
    )


def _is_supported(api_key: int, version: int, versions: Versions) -> bool:
    lowest, highest = versions.get(api_key, (0, -1))
    if not lowest <= version <= highest:
        return False
    try:
        load_request_schema(api_key, version)
    except KioIndexError:
        return False
    return True


def _decode(frame: bytes, api_key: int, version: int) -> tuple[Any, Any, int]:
    schema: Any = load_request_schema(api_key, version)
    try:
        header, size = entity_reader(schema.__header_schema__)(frame, 0)
        payload, body_size = entity_reader(schema)(frame, size)
    except Exception as error:
        what = f"{api_name(api_key)} v{version}"
        raise UnreadableRequestError(f"{what} does not parse: {error!r}") from error
    return header, payload, len(frame) - size - body_size


def encode_response(response: Any, correlation_id: int) -> bytes:
    """One frame, length first; the entity's class decides the header's version."""
    buffer = io.BytesIO()
    header = response.__header_schema__(correlation_id=correlation_id)
    entity_writer(type(header))(buffer, header)
    entity_writer(type(response))(buffer, response)
    body = buffer.getvalue()
    return struct.pack(">i", len(body)) + body


def response_module(api_key: int, version: int) -> ModuleType:
    """The module with the response class of that version and the classes nested in it."""
    return load_payload_module(api_key, version, EntityType.response)


def make(schema: Any, **values: object) -> Any:
    """Builds an entity from those values that this version of it knows."""
    known = {field.name for field in fields(schema)}
    return schema(**{name: value for name, value in values.items() if name in known})
