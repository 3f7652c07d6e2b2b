"""A function of AWS Lambda that delivers its records before each answer: after it, all is frozen.

Its handler is lambda_app.handler; KIEL_LOGGING_BROKERS is among its environment variables.
"""

import functools
import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import kiel_logging

LONGEST = float(os.environ.get("LOG_SECONDS", "2"))  # that an invocation waits for Kafka
MARGIN = 0.5  # seconds before its time limit at which an invocation no longer waits

log = logging.getLogger("shop")
request_id: ContextVar[str] = ContextVar("request_id")
kafka = kiel_logging.setup(topic="shop.functions", context={"request_id": request_id})


def delivered(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Flush before the answer, within the time limit; the next invocation ships what is left."""

    @functools.wraps(function)
    def invoke(event: Any, context: Any) -> Any:
        request_id.set(context.aws_request_id)
        try:
            return function(event, context)
        except Exception:
            log.exception("failed")
            raise
        finally:
            left = context.get_remaining_time_in_millis() / 1000 - MARGIN
            kafka.flush(max(0.0, min(left, LONGEST)))

    return invoke


@delivered
def handler(event: dict[str, Any], _context: Any) -> str:
    """Log as anywhere."""
    log.info("order %d paid", event["order"], extra={"order": event["order"]})
    return "paid"
