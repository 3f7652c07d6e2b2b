"""Fixtures for pytest, which finds them by itself where kiel_logging is installed.

Until a test asks for one, this module is all that is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kiel_logging.testing import CapturedLogs, FakeKafka


@pytest.fixture
def kafka_logs() -> Iterator[CapturedLogs]:
    """A list of what the program's handlers would have sent to Kafka, without a broker."""
    from kiel_logging.testing import captured_logs

    with captured_logs() as logs:
        yield logs


@pytest.fixture
def fake_kafka() -> Iterator[FakeKafka]:
    """A Kafka of one broker, in this process: ``brokers=fake_kafka.addresses``."""
    from kiel_logging.testing import FakeKafka

    with FakeKafka() as kafka:
        yield kafka
