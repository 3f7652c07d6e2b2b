"""``python -m kiel_logging.demo.mock_cluster``: three mock brokers until standard input ends.

librdkafka, inside the confluent-kafka wheel, has a mock cluster that speaks Kafka's protocol on
loopback sockets and keeps records in memory (the newest 5 MB of a partition). This program prints
the brokers' addresses as one line. It ends with its standard input, so it can't outlive the program
that started it.
"""

import signal
import sys

from confluent_kafka import Producer


def main() -> None:
    """Start the brokers, print their addresses, and wait for the end of standard input."""
    # Ctrl-C reaches all programs of a terminal; the one that started the brokers stops them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers = cluster.list_topics(timeout=30.0).brokers.values()
    sys.stdout.write(",".join(f"{broker.host}:{broker.port}" for broker in brokers) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
