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
from collections.abc import Callable, Iterable, Mapping
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
_NO_TAGGED_FIELDS: Final = b"\x00"


@cache
def request_writer(api: Api, version: int) -> Write:
    """Return the function that writes requests of ``api`` in ``version``."""
    schema = SCHEMAS[api]
    return _writer(schema.request, version, version >= schema.flexible, False)


@cache
def response_writer(api: Api, version: int) -> Write:
    """Return the function that writes responses to ``api`` in ``version``, as a broker does."""
    schema = SCHEMAS[api]
    return _writer(schema.response, version, version >= schema.flexible, False)


class Reader(NamedTuple):
    """A kind of values: ``read(buffer, offset) -> (value, next offset)``.

    ``least`` is the fewest bytes that a value takes; it limits the number of elements of an array.
    """

    read: _Read
    least: int


@cache
def response_reader(api: Api, version: int, whole: bool = False) -> Reader:
    """Return the reader of responses to ``api`` in ``version``.

    With ``whole``, elements of which only some fields are kept become dicts of all fields.
    It raises ProtocolError, struct.error, IndexError or UnicodeDecodeError for bytes that are no
    such response.
    """
    schema = SCHEMAS[api]
    response = _with_all_fields(schema.response) if whole else schema.response
    return _reader(response, version, version >= schema.flexible, False)


def _with_all_fields(kind: Kind) -> Any:
    if isinstance(kind, Array):
        return Array(_with_all_fields(kind.of))
    if isinstance(kind, tuple):
        return tuple(field._replace(kind=_with_all_fields(field.kind)) for field in kind)
    return kind


@cache
def request_reader(api: Api, version: int) -> Reader:
    """Return the reader of requests of ``api`` in ``version``; it raises as responses' readers."""
    schema = SCHEMAS[api]
    return _reader(schema.request, version, version >= schema.flexible, False)


# -- writing ---------------------------------------------------------------------------------------


def _writer(kind: Kind, version: int, flexible: bool, nullable: bool) -> Write:
    if layout := _layout(kind):
        return _write_fixed(layout)
    if isinstance(kind, Array):
        element = _writer(kind.of, version, flexible, False)
        return _write_array(element, _length_writer(_INT32, flexible, nullable))
    if isinstance(kind, tuple):
        return _write_struct(kind, version, flexible)
    length = _length_writer(_INT16 if kind == "string" else _INT32, flexible, nullable)
    return _write_text(length) if kind == "string" else _write_bytes(length)


def _length_writer(
    layout: struct.Struct, flexible: bool, nullable: bool
) -> Callable[[int | None], bytes]:
    """Return the function that encodes a length; None is the length of a null."""

    def encode(length: int | None) -> bytes:
        if length is None:
            if not nullable:
                raise ValueError("a null where the protocol allows none")
            length = -1
        return unsigned_varint(length + 1) if flexible else layout.pack(length)

    return encode


def unsigned_varint(value: int) -> bytes:
    """Return the encoding with seven bits a byte, lowest first (KIP-482)."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _write_fixed(layout: _Layout) -> Write:
    pack, convert = struct.Struct(">" + layout.format).pack, layout.to_wire

    def write(value: Any, put: _Put) -> None:
        put(pack(value if convert is None else convert(value)))

    return write


def _write_bytes(length: Callable[[int | None], bytes]) -> Write:
    def write(value: bytes | None, put: _Put) -> None:
        if value is None:
            put(length(None))
        else:
            put(length(len(value)))
            put(value)

    return write


def _write_text(length: Callable[[int | None], bytes]) -> Write:
    write_bytes = _write_bytes(length)

    def write(value: str | None, put: _Put) -> None:
        write_bytes(None if value is None else value.encode(), put)

    return write


def _write_array(element: Write, length: Callable[[int | None], bytes]) -> Write:
    def write(values: Any, put: _Put) -> None:
        put(length(None if values is None else len(values)))
        for value in values or ():
            element(value, put)

    return write


def _write_struct(fields: Struct, version: int, flexible: bool) -> Write:
    present = [
        (field, _writer(field.kind, version, flexible, field.is_nullable(version)))
        for field in fields
        if field.is_in(version)
    ]
    steps = [(field.name, field.default, write) for field, write in present if field.tag is None]
    tagged = [(field, write) for field, write in present if field.tag is not None]

    def write(message: Mapping[str, Any], put: _Put) -> None:
        for name, default, write_field in steps:
            write_field(message.get(name, default), put)
        if tagged:
            _write_tagged(tagged, message, put)
        elif flexible:
            put(_NO_TAGGED_FIELDS)

    return write


def _write_tagged(fields: list[tuple[Field, Write]], message: Mapping[str, Any], put: _Put) -> None:
    """Only responses have these, and a field that has its default is left out."""
    given = [
        (field, write, value)
        for field, write in fields
        if (value := message.get(field.name, field.default)) != field.default
    ]
    put(unsigned_varint(len(given)))
    for field, write, value in given:
        parts: list[bytes] = []
        write(value, parts.append)
        put(unsigned_varint(field.tag or 0) + unsigned_varint(sum(map(len, parts))))
        for part in parts:
            put(part)


# -- reading ---------------------------------------------------------------------------------------


def _reader(kind: Kind, version: int, flexible: bool, nullable: bool) -> Reader:
    if layout := _layout(kind):
        return _read_fixed(layout)
    if isinstance(kind, Array):
        element = _reader(kind.of, version, flexible, False)
        keep = itemgetter(*kind.kept) if kind.kept else None
        return _read_array(element, _length_reader(_INT32, flexible, nullable), keep)
    if isinstance(kind, tuple):
        return _read_struct(kind, version, flexible)
    length = _length_reader(_INT16 if kind == "string" else _INT32, flexible, nullable)
    return _read_text(length) if kind == "string" else _read_bytes(length)


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


def _length_reader(layout: struct.Struct, flexible: bool, nullable: bool) -> Reader:
    """Return the reader of a length; a negative one is that of a null."""
    unpack, size = layout.unpack_from, layout.size

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

    return Reader(read, 1 if flexible else size)


def _read_fixed(layout: _Layout) -> Reader:
    structure, convert = struct.Struct(">" + layout.format), layout.from_wire
    unpack, size = structure.unpack_from, structure.size

    def read(buffer: bytes, offset: int) -> tuple[Any, int]:
        (value,) = unpack(buffer, offset)
        return value if convert is None else convert(value), offset + size

    return Reader(read, size)


def _read_bytes(length: Reader) -> Reader:
    read_length = length.read

    def read(buffer: bytes, offset: int) -> tuple[bytes | None, int]:
        size, offset = read_length(buffer, offset)
        if size < 0:
            return None, offset
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"{size} bytes announced, {len(buffer) - offset} left")
        return buffer[offset:end], end

    return Reader(read, length.least)


def _read_text(length: Reader) -> Reader:
    read_bytes = _read_bytes(length).read

    def read(buffer: bytes, offset: int) -> tuple[str | None, int]:
        raw, offset = read_bytes(buffer, offset)
        return None if raw is None else raw.decode(), offset

    return Reader(read, length.least)


def _read_array(
    element: Reader, length: Reader, keep: Callable[[Message], tuple[Any, ...]] | None
) -> Reader:
    read_length, read_element, least = length.read, element.read, element.least

    def read(buffer: bytes, offset: int) -> tuple[tuple[Any, ...] | None, int]:
        count, offset = read_length(buffer, offset)
        if count < 0:
            return None, offset
        if count * least > len(buffer) - offset:
            raise ProtocolError(f"{count} elements announced, {len(buffer) - offset} bytes left")
        values = []
        for _ in range(count):
            value, offset = read_element(buffer, offset)
            values.append(value if keep is None else keep(value))
        return tuple(values), offset

    return Reader(read, length.least)


def _read_struct(fields: Struct, version: int, flexible: bool) -> Reader:
    steps: list[_Step] = []
    least = int(flexible)
    present = [field for field in fields if field.is_in(version) and field.tag is None]
    for is_fixed, run in itertools.groupby(present, lambda field: bool(_layout(field.kind))):
        if is_fixed:
            step, size = _read_together(run)
            steps.append(step)
            least += size
            continue
        for field in run:
            reader = _reader(field.kind, version, flexible, field.is_nullable(version))
            steps.append(_read_one(field.name, reader.read))
            least += reader.least
    tagged: dict[int | None, tuple[str, _Read]] = {
        field.tag: (field.name, _reader(field.kind, version, flexible, False).read)
        for field in fields
        if field.tag is not None and field.is_in(version)
    }
    absent = {field.name: field.default for field in fields if field.tag in tagged}

    def read(buffer: bytes, offset: int) -> tuple[Message, int]:
        message = absent.copy()
        for step in steps:
            offset = step(buffer, offset, message)
        if flexible:
            offset = _read_tagged(buffer, offset, tagged, message)
        return message, offset

    return Reader(read, least)


def _read_one(name: str, read: _Read) -> _Step:
    def step(buffer: bytes, offset: int, message: Message) -> int:
        message[name], offset = read(buffer, offset)
        return offset

    return step


def _read_together(fields: Iterable[Field]) -> tuple[_Step, int]:
    """Return what reads adjoining fields of fixed size at once, and their size."""
    layouts = {field.name: layout for field in fields if (layout := _layout(field.kind))}
    structure = struct.Struct(">" + "".join(layout.format for layout in layouts.values()))
    unpack, size, names = structure.unpack_from, structure.size, tuple(layouts)
    converted = [(name, layout.from_wire) for name, layout in layouts.items() if layout.from_wire]

    def step(buffer: bytes, offset: int, message: Message) -> int:
        message.update(zip(names, unpack(buffer, offset), strict=True))
        for name, convert in converted:
            message[name] = convert(message[name])
        return offset + size

    return step, size


def skip_tagged(buffer: bytes, offset: int) -> int:
    """Return the offset behind a section of tagged fields."""
    return _read_tagged(buffer, offset, {}, {})


def _read_tagged(
    buffer: bytes, offset: int, known: Mapping[int | None, tuple[str, _Read]], message: Message
) -> int:
    count, offset = read_unsigned_varint(buffer, offset)
    for _ in range(count):
        tag, offset = read_unsigned_varint(buffer, offset)
        size, offset = read_unsigned_varint(buffer, offset)
        end = offset + size
        if end > len(buffer):
            raise ProtocolError(f"a tagged field of {size} bytes, {len(buffer) - offset} left")
        if tag in known:
            name, read = known[tag]
            message[name], used = read(buffer, offset)
            if used > end:
                raise ProtocolError(f"a tagged field of {size} bytes takes {used - offset}")
        offset = end
    return offset
