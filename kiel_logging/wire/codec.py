"""The tables of ``schemas.py`` made into functions: messages to bytes, and back.

A message is a dict: the fields of its version by name. The structs in it are dicts too, and arrays
are tuples.

The bytes of a response are not trusted. Every length and count is compared with the bytes
that are left before anything is made of it, so a broker that announces millions of elements gets
an error and no memory. Tagged fields that the tables don't have are skipped, as clients must
(KIP-482).
"""

import itertools
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.error_codes import error_code
from kiel_logging.wire.schemas import SCHEMAS, Api, Array, Field, Kind, Primitive, Struct

Message: TypeAlias = dict[str, Any]
_Put: TypeAlias = Callable[[bytes], None]
Write: TypeAlias = Callable[[Any, _Put], None]
"""Writes a value: hands its bytes, in parts, to the callable."""

_Read: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
_Step: TypeAlias = Callable[[bytes, int, Message], int]
"""Reads some fields of a message; returns the next offset."""


class Codec(NamedTuple):
    """A kind of values: how one is written, and ``read(buffer, offset) -> (value, next offset)``.

    ``read`` raises ProtocolError, struct.error, IndexError or UnicodeDecodeError for other bytes.
    ``least`` is the fewest bytes that a value takes; it limits the number of elements of an array.
    """

    write: Write
    read: _Read
    least: int


class _Layout(NamedTuple):
    """A primitive of fixed size: struct's character for it, and conversions from and to Python."""

    format: str
    from_wire: Callable[[Any], Any] | None = None
    to_wire: Callable[[Any], Any] | None = None


_LAYOUTS: Final[Mapping[Primitive, _Layout]] = {
    "bool": _Layout("?"),
    "int8": _Layout("b"),
    "int16": _Layout("h"),
    "int32": _Layout("i"),
    "int64": _Layout("q"),
    "error": _Layout("h", error_code),
    "uuid": _Layout("16s", lambda raw: uuid.UUID(bytes=raw), lambda topic_id: topic_id.bytes),
}


def _layout(kind: Kind) -> _Layout | None:
    """Return the layout of a primitive of fixed size, None for all other kinds."""
    return _LAYOUTS.get(kind) if isinstance(kind, str) else None


_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")


@cache
def request_codec(api: Api, version: int) -> Codec:
    """Return the codec of requests of ``api`` in ``version``."""
    schema = SCHEMAS[api]
    return _codec(schema.request, version, version >= schema.flexible, False)


@cache
def response_codec(api: Api, version: int, whole: bool = False) -> Codec:
    """Return the codec of responses to ``api`` in ``version``.

    With ``whole``, elements of which only some fields are kept are read as dicts of all fields.
    """
    schema = SCHEMAS[api]
    response = _with_all_fields(schema.response) if whole else schema.response
    return _codec(response, version, version >= schema.flexible, False)


def _with_all_fields(kind: Kind) -> Any:
    if isinstance(kind, Array):
        return Array(_with_all_fields(kind.of))
    if isinstance(kind, tuple):
        return tuple(field._replace(kind=_with_all_fields(field.kind)) for field in kind)
    return kind


def _codec(kind: Kind, version: int, flexible: bool, nullable: bool) -> Codec:
    if layout := _layout(kind):
        return _fixed(layout)
    length = _length(_INT16 if kind == "string" else _INT32, flexible, nullable)
    if isinstance(kind, Array):
        keep = itemgetter(*kind.kept) if kind.kept else None
        return _array(_codec(kind.of, version, flexible, False), length, keep)
    if isinstance(kind, tuple):
        return _struct(kind, version, flexible)
    return _text(length) if kind == "string" else _bytes(length)


def unsigned_varint(value: int) -> bytes:
    """Return the encoding with seven bits a byte, lowest first (KIP-482)."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


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


def _length(layout: struct.Struct, flexible: bool, nullable: bool) -> Codec:
    """Return the codec of a length; -1 is that of a null."""
    pack, unpack, size = layout.pack, layout.unpack_from, layout.size

    def write(length: int, put: _Put) -> None:
        if length < 0 and not nullable:
            raise ValueError("a null where the protocol allows none")
        put(unsigned_varint(length + 1) if flexible else pack(length))

    def read(buffer: bytes, offset: int) -> tuple[int, int]:
        if flexible:
            length, offset = read_unsigned_varint(buffer, offset)
            length -= 1
        else:
            (length,) = unpack(buffer, offset)
            offset += size
        if length < 0 and not nullable:
            raise ProtocolError("a null where there can be none")
        return length, offset

    return Codec(write, read, 1 if flexible else size)


def _fixed(layout: _Layout) -> Codec:
    structure, from_wire, to_wire = struct.Struct(">" + layout.format), *layout[1:]
    pack, unpack, size = structure.pack, structure.unpack_from, structure.size

    def write(value: Any, put: _Put) -> None:
        put(pack(value if to_wire is None else to_wire(value)))

    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        (value,) = unpack(buffer, offset)
        return value if from_wire is None else from_wire(value), offset + size

    return Codec(write, read, size)


def _bytes(length: Codec) -> Codec:
    write_length, read_length, least = length

    def write(value: bytes | None, put: _Put) -> None:
        write_length(-1 if value is None else len(value), put)
        put(value or b"")

    def read(buffer: bytes, offset: int) -> tuple[bytes | None, int]:
        size, offset = read_length(buffer, offset)
        if size < 0:
            return None, offset
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"{size} bytes announced, {len(buffer) - offset} left")
        return buffer[offset:end], end

    return Codec(write, read, least)


def _text(length: Codec) -> Codec:
    write_bytes, read_bytes, least = _bytes(length)

    def write(value: str | None, put: _Put) -> None:
        write_bytes(None if value is None else value.encode(), put)

    def read(buffer: bytes, offset: int) -> tuple[str | None, int]:
        raw, offset = read_bytes(buffer, offset)
        return None if raw is None else raw.decode(), offset

    return Codec(write, read, least)


def _array(
    element: Codec, length: Codec, keep: Callable[[Message], tuple[Any, ...]] | None
) -> Codec:
    write_length, read_length, least = length
    write_element, read_element, least_of_element = element

    def write(values: Any, put: _Put) -> None:
        write_length(-1 if values is None else len(values), put)
        for value in values or ():
            write_element(value, put)

    def read(buffer: bytes, offset: int) -> tuple[tuple[Any, ...] | None, int]:
        count, offset = read_length(buffer, offset)
        if count < 0:
            return None, offset
        if count * least_of_element > len(buffer) - offset:
            raise ProtocolError(f"{count} elements announced, {len(buffer) - offset} bytes left")
        values = []
        for _ in range(count):
            value, offset = read_element(buffer, offset)
            values.append(value if keep is None else keep(value))
        return tuple(values), offset

    return Codec(write, read, least)


def _struct(fields: Struct, version: int, flexible: bool) -> Codec:
    present = [
        (field, _codec(field.kind, version, flexible, field.is_nullable(version)))
        for field in fields
        if field.is_in(version)
    ]
    in_order = [(field, codec) for field, codec in present if field.tag is None]
    tagged = {field.tag: (field, codec) for field, codec in present if field.tag is not None}
    absent = {field.name: field.default for field, _ in tagged.values()}
    writers = [(field.name, field.default, codec.write) for field, codec in in_order]
    steps = list(_steps(in_order))

    def write(message: Mapping[str, Any], put: _Put) -> None:
        for name, default, write_field in writers:
            write_field(message.get(name, default), put)
        if flexible:
            _write_tagged(tagged, message, put)

    def read(buffer: bytes, offset: int) -> tuple[Message, int]:
        message = absent.copy()
        for step in steps:
            offset = step(buffer, offset, message)
        if flexible:
            offset = _read_tagged(buffer, offset, tagged, message)
        return message, offset

    return Codec(write, read, int(flexible) + sum(codec.least for _, codec in in_order))


def _steps(fields: list[tuple[Field, Codec]]) -> Iterator[_Step]:
    for is_fixed, run in itertools.groupby(fields, lambda pair: bool(_layout(pair[0].kind))):
        if is_fixed:
            yield _read_together([field for field, _ in run])
        else:
            yield from (_read_one(field.name, codec.read) for field, codec in run)


def _read_one(name: str, read: _Read) -> _Step:
    def step(buffer: bytes, offset: int, message: Message) -> int:
        message[name], offset = read(buffer, offset)
        return offset

    return step


def _read_together(fields: Iterable[Field]) -> _Step:
    """Return what reads adjoining fields of fixed size at once."""
    layouts = {field.name: layout for field in fields if (layout := _layout(field.kind))}
    structure = struct.Struct(">" + "".join(layout.format for layout in layouts.values()))
    unpack, size, names = structure.unpack_from, structure.size, tuple(layouts)
    converted = [(name, layout.from_wire) for name, layout in layouts.items() if layout.from_wire]

    def step(buffer: bytes, offset: int, message: Message) -> int:
        message.update(zip(names, unpack(buffer, offset), strict=True))
        for name, convert in converted:
            message[name] = convert(message[name])
        return offset + size

    return step


# -- tagged fields ---------------------------------------------------------------------------------

_Tagged: TypeAlias = Mapping[int, tuple[Field, Codec]]


def _write_tagged(tagged: _Tagged, message: Mapping[str, Any], put: _Put) -> None:
    """Only responses have these, and a field that has its default is left out."""
    given = [
        (tag, codec, value)
        for tag, (field, codec) in tagged.items()
        if (value := message.get(field.name, field.default)) != field.default
    ]
    put(unsigned_varint(len(given)))
    for tag, codec, value in given:
        parts: list[bytes] = []
        codec.write(value, parts.append)
        put(unsigned_varint(tag) + unsigned_varint(sum(map(len, parts))))
        for part in parts:
            put(part)


def skip_tagged(buffer: bytes, offset: int) -> int:
    """Return the offset behind a section of tagged fields."""
    return _read_tagged(buffer, offset, {}, {})


def _read_tagged(buffer: bytes, offset: int, known: _Tagged, message: Message) -> int:
    count, offset = read_unsigned_varint(buffer, offset)
    for _ in range(count):
        tag, offset = read_unsigned_varint(buffer, offset)
        size, offset = read_unsigned_varint(buffer, offset)
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"a tagged field of {size} bytes, {len(buffer) - offset} left")
        if tag in known:
            field, codec = known[tag]
            message[field.name], used = codec.read(buffer, offset)
            if used > end:
                raise ProtocolError(f"a tagged field of {size} bytes takes {used - offset}")
        offset = end
    return offset
