"""Logging is put back as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from kiel_logging.handler.exits import live_handlers
from kiel_logging.testing import FakeKafka


@pytest.fixture
def logging_restored(cluster: FakeKafka) -> Iterator[None]:
    """Puts back what a configuration changed, and closes the handlers that it made."""
    manager, root = logging.root.manager, logging.root
    loggers = {**{name: logging.getLogger(name) for name in manager.loggerDict}, "root": root}
    before = {name: dict(logger.__dict__) for name, logger in loggers.items()}
    handlers = {name: list(logger.handlers) for name, logger in loggers.items()}
    names, references = dict(logging._handlers), list(logging._handlerList)  # type: ignore[attr-defined]
    old = live_handlers()
    yield
    for handler in live_handlers():
        if handler not in old:
            handler.close()
    for name, logger in loggers.items():
        logger.__dict__.update(before[name])
        logger.handlers[:] = handlers[name]
    for name in set(manager.loggerDict) - set(loggers):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).disabled = False
    logging._handlers.update(names)  # type: ignore[attr-defined]
    logging._handlerList[:] = references  # type: ignore[attr-defined]
    manager._clear_cache()  # type: ignore[attr-defined]
