"""A spawned child of a test, which imports nothing but logging."""

import logging


def log(message: str) -> None:
    """Log by the name alone, as a function of a program would."""
    logging.getLogger("shop.worker").info("%s", message, extra={"worker": True})
