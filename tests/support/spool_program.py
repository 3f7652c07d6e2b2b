"""A program that logs numbered records to disk first, until it is killed.

``python -m tests.support.spool_program``; its one argument is JSON::

    {"first": number, "told": path, "options": KafkaHandler's}

After each call that returned it writes the number to the file ``told``.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from kiel_logging import KafkaHandler


def main() -> None:
    """Log until somebody kills it."""
    given = json.loads(sys.argv[1])
    logger = logging.Logger("numbered")
    logger.addHandler(KafkaHandler(**given["options"]))
    told = os.open(given["told"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    number = given["first"]
    while True:
        logger.info("%d", number, extra={"user": f"u{number % 7}"})
        os.write(told, b"%d\n" % number)
        number += 1


if __name__ == "__main__":
    main()
