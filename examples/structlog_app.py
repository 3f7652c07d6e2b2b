"""structlog through logging: its event dict arrives as fields, beside the records of libraries.

KIEL_LOGGING_BROKERS=localhost:9092 python examples/structlog_app.py
"""

import logging

import structlog

import kiel_logging


def configure() -> None:
    """Let structlog end in logging, and logging in Kafka."""
    kiel_logging.setup(
        topic="shop.app",
        key_field="request_id",
        # Every record has the fields of bind_contextvars(), also those of libraries. With
        # merge_contextvars among the processors only structlog's would have them.
        context=structlog.contextvars.get_contextvars,
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            # Last: the event becomes the message, all else extra=, and so fields. The LogRecord
            # itself has time, level, logger and traceback: no processor adds them.
            structlog.stdlib.render_to_log_kwargs,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def main() -> None:
    """Handle a request, with a library that logs in its own way."""
    configure()
    log = structlog.stdlib.get_logger("shop.checkout")
    with structlog.contextvars.bound_contextvars(request_id="r-17"):
        log = log.bind(user="ada")
        log.info("order %s placed", 4711, order={"id": 4711, "total": "9.90"})
        logging.getLogger("library").warning("payment took %d ms", 950)
        try:
            raise ValueError("card declined")
        except ValueError:
            log.exception("payment failed", attempt=2)


if __name__ == "__main__":
    main()
