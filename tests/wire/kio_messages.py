"""kio's messages beside ours: made, written and read by kio, and in the shape that ours have."""

from __future__ import annotations

import dataclasses
import datetime
import io
import types
import typing
import uuid
from typing import Any

import pytest
from hypothesis import strategies as st
from kio.index import load_payload_module, load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType
from kio.static.primitive import Records

from kiel_logging.wire.messages import Request, encode_request
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED

# kio registers a strategy for each of its types but this one.
st.register_type_strategy(Records, st.binary().map(Records))

SPOKEN = [
    pytest.param(api, version, id=f"{api.name} v{version}")
    for api, versions in SUPPORTED.items()
    for version in range(versions.lowest, versions.highest + 1)
]
"""Every message that the client can be brought to speak."""

_MILLISECOND = datetime.timedelta(milliseconds=1)
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_TIMES = {"timedelta_i32", "timedelta_i64", "datetime_i64"}
_KEPT = {
    "MetadataResponseBroker": ("node_id", "host", "port"),
    "MetadataResponsePartition": ("partition_index", "leader_id", "leader_epoch"),
}
"""Of these our reader keeps a plain tuple of some fields."""
_SKIPPED = {
    "ApiVersionsResponse": {
        "supported_features",
        "finalized_features_epoch",
        "finalized_features",
        "zk_migration_ready",
    }
}
"""Tagged fields that our tables don't have."""
_NULLS: dict[str | None, Any] = {"datetime_i64": -1, "uuid": uuid.UUID(int=0)}
_SAMPLES: dict[str, Any] = {
    "bool": True,
    "int8": 5,
    "int16": 300,
    "int32": 70_000,
    "int64": 2**40,
    "string": "grüße",
    "bytes": b"\x00\xff",
    "records": b"\x00\xff",
    "uuid": uuid.UUID(int=2**100 + 1),
    "error_code": ErrorCode.not_leader_or_follower,
    "timedelta_i32": datetime.timedelta(milliseconds=1500),
    "timedelta_i64": datetime.timedelta(days=100),
    "datetime_i64": _EPOCH + datetime.timedelta(days=20_000),
}


def response_module(api_key: int, version: int) -> types.ModuleType:
    """The module with the response class of that version and the classes nested in it."""
    return load_payload_module(api_key, version, EntityType.response)


def make(schema: Any, **values: object) -> Any:
    """An entity with those values that this version of it knows."""
    known = {field.name for field in dataclasses.fields(schema)}
    return schema(**{name: value for name, value in values.items() if name in known})


def to_bytes(entity: Any) -> bytes:
    """The entity as kio writes it."""
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def to_frame(response: Any, correlation_id: int = 7) -> bytes:
    """A response with its header, without its size, as kio writes it."""
    header = response.__header_schema__(correlation_id=correlation_id)
    return to_bytes(header) + to_bytes(response)


def read_by_kio(request: Request, client_id: str = "client") -> Any:
    """The request as kio reads it: the whole frame, and not a byte more."""
    frame = encode_request(request, 77, client_id)
    schema: Any = load_request_schema(request.api, request.version)
    header, header_size = entity_reader(schema.__header_schema__)(frame, 4)
    read, size = entity_reader(schema)(frame, 4 + header_size)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert 4 + header_size + size == len(frame)
    assert (header.request_api_key, header.request_api_version) == request[:2]
    assert (header.correlation_id, header.client_id) == (77, client_id)
    return read


def frame_by_kio(request: Any, correlation_id: int, client_id: str) -> bytes:
    """The frame of a request of kio's, with its size and header, as kio writes it."""
    header = request.__header_schema__(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=correlation_id,
        client_id=client_id,
    )
    message = to_bytes(header) + to_bytes(request)
    return len(message).to_bytes(4, "big") + message


def kio_request(api: Api, version: int) -> Any:
    """A request of kio's with a value in every field."""
    return filled(load_request_schema(api, version))


def kio_response(api: Api, version: int) -> Any:
    """A response of kio's with a value in every field."""
    return filled(load_response_schema(api, version))


def as_ours(value: Any, *, kept: bool = True) -> Any:
    """A message of kio's as this client has it: dicts and tuples, times in milliseconds.

    ``kept=False``: with all fields of the structs of which our reader keeps some.
    """
    if dataclasses.is_dataclass(value):
        name = type(value).__name__
        ours = dict(
            _as_our_field(value, field, kept)
            for field in dataclasses.fields(value)
            if field.name not in _SKIPPED.get(name, ())
        )
        return tuple(map(ours.get, _KEPT[name])) if kept and name in _KEPT else ours
    if isinstance(value, tuple):
        return tuple(as_ours(element, kept=kept) for element in value)
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // _MILLISECOND
    return value // _MILLISECOND if isinstance(value, datetime.timedelta) else value


def _as_our_field(entity: Any, field: dataclasses.Field[Any], kept: bool) -> tuple[str, Any]:
    value, kafka_type = getattr(entity, field.name), field.metadata.get("kafka_type")
    name = f"{field.name}_ms" if kafka_type in _TIMES else field.name
    return name, _NULLS.get(kafka_type) if value is None else as_ours(value, kept=kept)


def filled(entity_type: Any) -> Any:
    """An entity with a value in every field and two elements in every array."""
    hints = typing.get_type_hints(entity_type)
    return entity_type(
        **{
            field.name: _sample(hints[field.name], field.metadata.get("kafka_type"))
            for field in dataclasses.fields(entity_type)
        }
    )


def _sample(hint: Any, kafka_type: str | None) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(arm for arm in typing.get_args(hint) if arm is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return (_sample(typing.get_args(hint)[0], kafka_type),) * 2
    return filled(hint) if kafka_type is None else _SAMPLES[kafka_type]
