"""``python -m kiel_logging.demo.mock_cluster``: three mock brokers until its stdin ends.

librdkafka, inside the confluent-kafka wheel, carries a mock cluster that speaks Kafka's protocol on
loopback sockets and keeps the records in memory (the newest 5 MB of a partition). Its addresses are
the only line on stdout. Living until stdin ends, it can't outlive the program that started it, no
matter how that one dies.
"""

import signal
import sys
from typing import Final

from confluent_kafka import Producer

_BROKERS: Final = 3
_PATIENCE_S: Final = 30.0
_EMERGENCIES_ONLY: Final = 0
"""A log level. librdkafka would write a notice about the mock cluster to stderr."""


def main() -> None:
    """Start the brokers, print their addresses, and wait for the end of stdin."""
    # Ctrl-C reaches the whole process group; the parent decides when the brokers may go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = Producer({"test.mock.num.brokers": _BROKERS, "log_level": _EMERGENCIES_ONLY})
    brokers = cluster.list_topics(timeout=_PATIENCE_S).brokers.values()
    sys.stdout.write(",".join(f"{broker.host}:{broker.port}" for broker in brokers) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
