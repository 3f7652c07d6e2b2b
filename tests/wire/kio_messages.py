"""kio's messages, made and taken apart without any code of the package under test."""

from __future__ import annotations

import dataclasses
import datetime
import io
import types
import typing
import uuid
from typing import Any

from kio.index import load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer

API_NAMES = {
    0: "Produce",
    3: "Metadata",
    17: "SaslHandshake",
    18: "ApiVersions",
    22: "InitProducerId",
    32: "DescribeConfigs",
    36: "SaslAuthenticate",
}
RESPONSE_TYPES = {
    f"{API_NAMES[key]} v{version}": load_response_schema(key, version)
    for key, versions in {
        0: range(3, 14),
        3: range(14),
        17: range(2),
        18: range(5),
        22: range(6),
        32: range(1, 5),
        36: range(3),
    }.items()
    for version in versions
}
"""Every response that the client reads, or has a use for."""

_MILLISECOND = datetime.timedelta(milliseconds=1)
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
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


def to_bytes(entity: Any) -> bytes:
    """The entity as kio writes it."""
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def to_frame(response: Any, correlation_id: int = 7) -> bytes:
    """A response with its header, without its size, as kio writes it."""
    header = response.__header_schema__(correlation_id=correlation_id)
    return to_bytes(header) + to_bytes(response)


def plain(value: Any) -> Any:
    """A message as dicts and tuples, with every time, duration and null uuid as on the wire."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain_field(value, field) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(plain(element) for element in value)
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // _MILLISECOND
    return value // _MILLISECOND if isinstance(value, datetime.timedelta) else value


def _plain_field(entity: Any, field: dataclasses.Field[Any]) -> Any:
    value = getattr(entity, field.name)
    return _NULLS.get(field.metadata.get("kafka_type")) if value is None else plain(value)


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
