"""The mock cluster of the tests of ``verify``, for the tests of ``view`` that need brokers."""

from __future__ import annotations

from tests.verify.conftest import cluster, topic

__all__ = ["cluster", "topic"]
