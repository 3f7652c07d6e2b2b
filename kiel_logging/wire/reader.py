"""kio's message classes, read from bytes that nobody vouches for.

The schemas are kio's; its own reader is not used for what brokers send, because it allocates
whatever count a frame claims, which ends the whole process (kio 0.6.5: "memory allocation of ...
bytes failed", SIGABRT), and because it refuses tagged fields that it doesn't know, which clients
must skip (KIP-482). Here every length is checked against the bytes that are left before anything
is made of it.

Times and durations stay what they are on the wire, integers in milliseconds; an error code that
kio doesn't know stays an int.
"""

import dataclasses
import itertools
import struct
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from kio.schema.errors import ErrorCode

from kiel_logging.errors import ProtocolError

_Read: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
Shapes: TypeAlias = tuple[tuple[str, Callable[[Any], Any]], ...]
"""Which elements of arrays are made something smaller at once: name of their class -> what of."""

_Step: TypeAlias = Callable[[bytes, int, dict[str, Any]], int]
"""Reads into values, by name; returns the next offset."""


class Reader(NamedTuple):
    """How one type is read: ``read(buffer, offset) -> (value, next offset)``.

    ``least`` is the fewest bytes that a value takes: it bounds how long an array can be.
    ``format`` is struct's character for one that always takes as many, empty for the others;
    ``convert`` is what is made of struct's value, None for nothing.
    """

    read: _Read
    least: int
    format: str = ""
    convert: Callable[[Any], Any] | None = None


def _fixed(format_: str, convert: Callable[[Any], Any] | None = None) -> Reader:
    layout = struct.Struct(">" + format_)
    unpack, size = layout.unpack_from, layout.size

    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        (value,) = unpack(buffer, offset)
        return value if convert is None else convert(value), offset + size

    return Reader(read, size, format_, convert)


def _mapped(reader: Reader, convert: Callable[[Any], Any]) -> Reader:
    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        value, offset = reader.read(buffer, offset)
        return convert(value), offset

    return Reader(read, reader.least)


def read_unsigned_varint(buffer: bytes, offset: int) -> tuple[int, int]:
    """Read at most five bytes, the longest that 32 bits take."""
    value = buffer[offset]
    if value < 0x80:  # nearly all of them
        return value, offset + 1
    value = 0
    for shift in range(0, 35, 7):
        byte = buffer[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise ProtocolError("a varint of more than five bytes")


def _compact_length(buffer: bytes, offset: int) -> tuple[int, int]:
    length, offset = read_unsigned_varint(buffer, offset)
    return length - 1, offset


_INT8: Final = _fixed("b")
_INT16: Final = _fixed("h")
_INT32: Final = _fixed("i")
_COMPACT_LENGTH: Final = Reader(_compact_length, 1)


def _blob(length: Reader) -> Reader:
    """Bytes behind their length; a length of -1 is a null."""

    def read(buffer: bytes, offset: int) -> tuple[bytes | None, int]:
        size, offset = length.read(buffer, offset)
        if size < 0:
            return None, offset
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"{size} bytes announced, {len(buffer) - offset} left")
        return buffer[offset:end], end

    return Reader(read, length.least)


def _array(length: Reader, element: Reader, shape: Callable[[Any], Any] | None = None) -> Reader:
    """A tuple behind its count; a count of -1 is a null. ``shape`` is applied to each element."""

    def read(buffer: bytes, offset: int) -> tuple[tuple[Any, ...] | None, int]:
        count, offset = length.read(buffer, offset)
        if count < 0:
            return None, offset
        if count * element.least > len(buffer) - offset:
            raise ProtocolError(f"{count} elements announced, {len(buffer) - offset} bytes left")
        values = []
        for _ in range(count):
            value, offset = element.read(buffer, offset)
            values.append(value if shape is None else shape(value))
        return tuple(values), offset

    return Reader(read, length.least)


def _text(blob: bytes | None) -> str | None:
    return None if blob is None else blob.decode()


_ERRORS: Final[dict[int, ErrorCode]] = {code.value: code for code in ErrorCode}


def _error(code: int) -> ErrorCode | int:
    return _ERRORS.get(code, code)


_PRIMITIVES: Final = {
    "int8": _INT8,
    "int16": _INT16,
    "int32": _INT32,
    "int64": _fixed("q"),
    "uint16": _fixed("H"),
    "uint32": _fixed("I"),
    "bool": _fixed("?"),
    "uuid": _fixed("16s", lambda raw: uuid.UUID(bytes=raw)),
    "error_code": _fixed("h", _error),
    "timedelta_i32": _INT32,
    "timedelta_i64": _fixed("q"),
    "datetime_i64": _fixed("q"),
}

# (flexible?) -> the length that strings and bytes have (KIP-482).
_BYTES_LENGTH: Final = {False: _INT32, True: _COMPACT_LENGTH}
_STRING_LENGTH: Final = {False: _INT16, True: _COMPACT_LENGTH}


def _primitive(kafka_type: str, flexible: bool) -> Reader:
    if kafka_type == "string":
        return _mapped(_blob(_STRING_LENGTH[flexible]), _text)
    if kafka_type == "bytes":
        return _blob(_BYTES_LENGTH[flexible])
    return _PRIMITIVES[kafka_type]


@cache
def entity_reader(entity: type, shapes: Shapes = ()) -> Reader:
    """Return the reader of one of kio's message classes."""
    flexible: bool = entity.__flexible__  # type: ignore[attr-defined]
    hints = typing.get_type_hints(entity)
    fields: list[tuple[str, Reader]] = []
    tagged: dict[int, tuple[str, Reader]] = {}
    for field in dataclasses.fields(entity):
        reader = _field_reader(hints[field.name], field.metadata, flexible, shapes)
        if "tag" in field.metadata:
            tagged[field.metadata["tag"]] = (field.name, reader)
        else:
            fields.append((field.name, reader))

    steps = _steps(fields)

    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        values: dict[str, Any] = {}
        for step in steps:
            offset = step(buffer, offset, values)
        if flexible:
            offset = _read_tagged(buffer, offset, tagged, values)
        return entity(**values), offset

    return Reader(read, sum(reader.least for _, reader in fields) + flexible)


def _steps(fields: Sequence[tuple[str, Reader]]) -> list[_Step]:
    """Return what reads ``fields``: those of a fixed size that stand together at once."""
    steps: list[_Step] = []
    for is_fixed, group in itertools.groupby(fields, lambda field: bool(field[1].format)):
        run = list(group)
        steps += [_read_together(dict(run))] if is_fixed else itertools.starmap(_read_one, run)
    return steps


def _read_one(name: str, reader: Reader) -> _Step:
    read = reader.read

    def step(buffer: bytes, offset: int, values: dict[str, Any]) -> int:
        values[name], offset = read(buffer, offset)
        return offset

    return step


def _read_together(fields: Mapping[str, Reader]) -> _Step:
    layout = struct.Struct(">" + "".join(reader.format for reader in fields.values()))
    unpack, size, names = layout.unpack_from, layout.size, tuple(fields)
    converted = [(name, reader.convert) for name, reader in fields.items() if reader.convert]

    def step(buffer: bytes, offset: int, values: dict[str, Any]) -> int:
        values.update(zip(names, unpack(buffer, offset), strict=True))
        for name, convert in converted:
            values[name] = convert(values[name])
        return offset + size

    return step


def _field_reader(hint: Any, metadata: Any, flexible: bool, shapes: Shapes) -> Reader:
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    if optional:
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        of = typing.get_args(hint)[0]
        element = _field_reader(of, metadata, flexible, shapes)
        shape = dict(shapes).get(getattr(of, "__name__", ""))
        array = _array(_BYTES_LENGTH[flexible], element, shape)
        return array if optional else _not_null(array)
    if dataclasses.is_dataclass(hint):
        entity = entity_reader(typing.cast(type, hint), shapes)
        return _nullable(entity) if optional else entity
    primitive = _primitive(metadata["kafka_type"], flexible)
    return primitive if optional or primitive.format else _not_null(primitive)


def _not_null(reader: Reader) -> Reader:
    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        value, offset = reader.read(buffer, offset)
        if value is None:
            raise ProtocolError("a null where there can be none")
        return value, offset

    return Reader(read, reader.least)


def _nullable(entity: Reader) -> Reader:
    """A struct behind a byte that is -1 for a null (KIP-893)."""

    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        marker, offset = _INT8.read(buffer, offset)
        return (None, offset) if marker < 0 else entity.read(buffer, offset)

    return Reader(read, _INT8.least)


def _read_tagged(
    buffer: bytes, offset: int, known: dict[int, tuple[str, Reader]], values: dict[str, Any]
) -> int:
    count, offset = read_unsigned_varint(buffer, offset)
    for _ in range(count):
        tag, offset = read_unsigned_varint(buffer, offset)
        size, offset = read_unsigned_varint(buffer, offset)
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"a tagged field of {size} bytes, {len(buffer) - offset} left")
        if tag in known:
            name, reader = known[tag]
            values[name], _ = reader.read(buffer, offset)
        offset = end
    return offset
