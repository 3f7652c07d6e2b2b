"""What the package has to say about itself goes through the logger ``kiel_logging``, from here.

Importable by all: imports nothing of ours.
"""

import logging
import sys
from typing import Final

logger: Final = logging.getLogger("kiel_logging")


def report(level: int, message: str, *args: object) -> None:
    """Log ``message % args`` at ``level``; set the logger's level to silence it.

    ``dictConfig`` disables every logger that its configuration doesn't name, and ours exists by
    the time it does, because reading the configuration imports the handler. That is no wish to
    lose records in silence.
    """
    logger.disabled = False
    log_to(logger, level, message, *args, depth=2)


def log_to(target: logging.Logger, level: int, message: str, *args: object, depth: int = 1) -> None:
    """Log ``message % args``, as ``target.log()`` would, without logging's module lock.

    ``Logger.isEnabledFor`` may take it. ``dictConfig`` holds it while it closes the handlers that
    were there before: a thread that has to deliver their records must not wait for it.
    """
    if level < target.getEffectiveLevel() or level <= target.manager.disable:
        return
    caller = sys._getframe(depth)
    code = caller.f_code
    record = target.makeRecord(
        target.name,
        level,
        code.co_filename,
        caller.f_lineno,
        message,
        args,
        None,
        func=code.co_name,
    )
    target.handle(record)
