"""The most bytes that records take in a batch, before they are encoded.

Source: Kafka's message format, see ``record_batch.py``.
"""

from typing import Any, Final

from kiel_logging.records import Header, Record

BATCH_OVERHEAD: Final = 61
"""Bytes of a batch without records."""

# Length, attributes, timestamp delta, offset delta, and the lengths of key, value and headers,
# each as long as it can get.
_RECORD_OVERHEAD: Final = 5 + 1 + 10 + 5 + 5 + 5 + 5
_HEADER_OVERHEAD: Final = 5 + 5


def record_size(record: Record) -> int:
    """Return the most bytes that ``record`` can take in a batch, uncompressed."""
    size = _RECORD_OVERHEAD
    if record.key is not None:
        size += len(record.key)
    if record.value is not None:
        size += len(record.value)
    for header in record.headers:
        size += header_size(header)
    return size


def size_in_batch(record: Any) -> int:
    """Return ``record_size()`` of a record; an object that has one knows its size."""
    return record_size(record) if isinstance(record, Record) else int(record.size)


def plain_record(record: Any) -> Record:
    """Return a record as a named tuple; it may be part of an object that has one."""
    return record if isinstance(record, Record) else record.record


def header_size(header: Header) -> int:
    """Return the most bytes that ``header`` can take in a record."""
    # UTF-8 takes at most three bytes for each of a str's UTF-16 units, four for one character.
    key, value = header
    return _HEADER_OVERHEAD + 4 * len(key) + len(value or b"")
