from collections.abc import Callable
from logging import LogRecord
from typing import Any

from kiel_logging.handler.pipeline.item import Item
from kiel_logging.records import Record

def compose(
    created: float,
    head: bytes,
    message: str,
    tail: bytes,
    own: dict[str, Any],
    skipped: int,
    more: dict[str, Any],
    taken: frozenset[str],
    dump: Callable[[Any], bytes | None],
    end: bytes,
    /,
) -> bytes | None: ...
def convert(settings: tuple[Any, ...], record: LogRecord, /) -> Item | None: ...
def encode_records(
    records: list[Record], base_timestamp: int, first_offset_delta: int, /
) -> bytes: ...
def murmur2(key: bytes, /) -> int: ...
