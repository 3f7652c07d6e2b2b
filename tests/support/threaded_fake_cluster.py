"""The fake cluster on its own loop thread, for tests that are not coroutines."""

from kiel_logging.testing.kafka import FakeKafka as ThreadedFakeCluster

__all__ = ["ThreadedFakeCluster"]
