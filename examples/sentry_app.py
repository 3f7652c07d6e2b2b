"""Sentry beside Kafka: Kafka has all records, Sentry the errors and what led to them.

KIEL_LOGGING_BROKERS=localhost:9092 SENTRY_DSN=https://key@sentry.example/1 python sentry_app.py
"""

import logging

import sentry_sdk

import kiel_logging


def of_sentry() -> dict[str, str]:
    """Return the id of the trace, under which Sentry has the events of a record's request."""
    trace_id, _, _ = (sentry_sdk.get_traceparent() or "").partition("-")
    return {"trace_id": trace_id}


def main() -> None:
    """Log a little; the error becomes an event, with the records before it as breadcrumbs."""
    sentry_sdk.init()  # SENTRY_DSN
    kiel_logging.setup(topic="shop.app", context=of_sentry)
    log = logging.getLogger("shop.checkout")
    log.info("order placed", extra={"user_id": "ada"})
    try:
        raise ValueError("card declined")
    except ValueError:
        log.exception("payment failed", extra={"user_id": "ada"})


if __name__ == "__main__":
    main()
