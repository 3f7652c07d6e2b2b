"""One fake broker on the loop of a test."""

from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.faults import Answer, DefaultReply
from kiel_logging.testing.replies import HANG_UP, STALL

__all__ = ["HANG_UP", "STALL", "Answer", "DefaultReply", "FakeBroker"]
