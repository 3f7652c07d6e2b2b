"""For tests of programs that log to Kafka: what would be sent, and a fake Kafka to send it to.

::

    from kiel_logging.testing import FakeKafka, captured_logs

pytest has the fixtures ``kafka_logs`` and ``fake_kafka``.
"""

from kiel_logging.testing.capture import CapturedLogs, captured_logs
from kiel_logging.testing.kafka import FakeKafka
from kiel_logging.testing.sent import SentRecord

__all__ = ["CapturedLogs", "FakeKafka", "SentRecord", "captured_logs"]
