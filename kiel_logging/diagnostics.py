"""What the package has to say about itself goes through the logger ``kiel_logging``, from here.

Importable by all: imports nothing of ours.
"""

import logging
from typing import Final

logger: Final = logging.getLogger("kiel_logging")


def report(level: int, message: str, *args: object) -> None:
    """Log ``message % args`` at ``level``; set the logger's level to silence it.

    ``dictConfig`` disables every logger that its configuration doesn't name, and ours exists by
    the time it does, because reading the configuration imports the handler. That is no wish to
    lose records in silence.
    """
    logger.disabled = False
    logger.log(level, message, *args, stacklevel=2)
