"""The Fetch request and response, to read back the one batch that was just written.

Source: https://kafka.apache.org/protocol#The_Messages_Fetch
"""

from typing import Final

from kiel_logging.records import TopicPartition
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

_MOST: Final = 64 * 1024
"""Bytes: the first batch comes whole, however large it is."""


def fetch_request(version: int, where: TopicPartition, offset: int, wait_ms: int) -> Request:
    """Return the request for what a partition has from ``offset`` on."""
    partition = {
        "partition": where.partition,
        "fetch_offset": offset,
        "partition_max_bytes": _MOST,
    }
    fields = {
        "max_wait_ms": wait_ms,
        "min_bytes": 1,
        "max_bytes": _MOST,
        "topics": ({"topic": where.topic, "partitions": (partition,)},),
    }
    return Request(Api.FETCH, version, fields)


def read_fetch(response: Message) -> tuple[ErrorCode | int, bytes]:
    """Return the error of the one partition that was asked for, and its batches."""
    if response["error_code"] != ErrorCode.none:
        return response["error_code"], b""
    for topic in response["responses"]:
        for partition in topic["partitions"]:
            return partition["error_code"], partition["records"] or b""
    return ErrorCode.none, b""
