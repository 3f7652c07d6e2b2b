from collections.abc import Callable, Mapping, Sequence, Sized
from logging import LogRecord
from typing import Any, TypeAlias, TypeVar

from kiel_logging.proof.stamper import T
from kiel_logging.record.item import Item
from kiel_logging.records import Header, Record

Lookup: TypeAlias = str | tuple[str, ...] | bytes

G = TypeVar("G", bound=list[Any])

class QuickItem:
    run: Any
    entry: int
    @property
    def timestamp(self) -> int: ...
    @property
    def record(self) -> Record: ...
    @property
    def number(self) -> int: ...
    def plain(self) -> Item: ...

class Counts:
    emitted: int
    kept: int
    bytes_kept: int
    ended: int
    bytes_ended: int
    out_of_memory: int
    crowded: bool
    closed: bool
    unwoken: bool
    @property
    def many_records(self) -> int: ...
    @property
    def many_bytes(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    def __init__(self, many_records: int, many_bytes: int, batch_size: int) -> None: ...
    def lose(self) -> None: ...

class JournalCounts:
    bytes: int
    pending: int
    asleep: bool
    @property
    def max_bytes(self) -> int: ...
    def __init__(self, max_bytes: int) -> None: ...

class Tail:
    appended: int
    unread: bool
    torn: bool
    @property
    def writes(self) -> int: ...
    def __init__(self, counts: JournalCounts, seed: int) -> None: ...
    def publish(self, descriptor: object, number: int, device: int, inode: int, /) -> None: ...
    def withdraw(self) -> None: ...

class Seal:
    def __init__(self, key: bytes | None = None, /) -> None: ...
    def __call__(self, prev: bytes, body: bytes, /) -> bytes: ...
    def begin(self, stream: bytes, /) -> Seal: ...

class FastWay:
    def __new__(
        cls,
        *,
        kind: type[LogRecord],
        names: tuple[str, ...],
        places: bytes,
        sites: dict[Any, tuple[bytes, bytes, bytes]],
        second: Callable[[int], str],
        task_name: Callable[[], str | None],
        more: Callable[[dict[str, Any]], dict[str, Any] | None],
        taken: frozenset[str],
        hidden: tuple[str, ...] | None,
        middle: bytes | None,
        end: bytes,
        topic: str | Callable[[LogRecord], str],
        key: Lookup | None,
        headers: tuple[tuple[bytes, Lookup], ...],
        here: Any,
        blocks: dict[Any, Any],
        counts: Counts,
        queue: Sized | None,
        wake: Callable[[int], None],
        tail: Tail | None,
        style: int,
        most: int,
        has_context: bool,
        keeps_source: bool,
    ) -> FastWay: ...
    def convert(self, record: LogRecord, /) -> Any: ...
    def emit(self, record: LogRecord, /) -> bool: ...

def crc32c(data: bytes | memoryview, value: int = 0, /) -> int: ...
def encode_records(
    records: list[Record], base_timestamp: int, first_offset_delta: int, /
) -> tuple[bytes, int]: ...
def group(
    items: list[Item],
    routes: Mapping[str, tuple[Callable[[bytes], int], list[G]]],
    keyless: Mapping[str, G],
    find: Callable[[Item], G | None],
    /,
) -> list[G]: ...
def lean_exit(kind: type) -> Any: ...
def mark_items(items: Sequence[Item | None], run: object, /) -> None: ...
def murmur2(key: bytes, /) -> int: ...
def pack_frame(item: Item, waiter: int, seed: int, /) -> bytes | None: ...
def scan_items(
    block: bytes, at: int, most: int, seed: int, topic: str, /
) -> tuple[list[QuickItem], list[int], int]: ...
def stamp(
    items: list[T],
    instance: Header,
    name: str,
    sequences: dict[str, int],
    careful: Callable[[Any, int], Any],
    /,
) -> list[T]: ...
def take(
    messages: list[Any],
    at: int,
    ends: dict[int, int],
    newest: dict[int, Any],
    sources: Any,
    plain: Any,
    /,
) -> int: ...
def to_json(value: Any, /) -> bytes | None: ...
def totals(items: list[Item], /) -> tuple[int, int, int]: ...
def write_to(number: int, data: bytes, device: int, inode: int, offset: int = -1, /) -> int: ...
