"""The fake cluster on the loop of a test."""

from kiel_logging.testing.batches import StoredBatch, StoredRecord
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.faults import Answer
from kiel_logging.testing.frames import ReceivedRequest
from kiel_logging.testing.replies import HANG_UP, STALL
from kiel_logging.wire.error_codes import ErrorCode

__all__ = [
    "HANG_UP",
    "STALL",
    "Answer",
    "ErrorCode",
    "FakeBroker",
    "FakeCluster",
    "ReceivedRequest",
    "StoredBatch",
    "StoredRecord",
]
