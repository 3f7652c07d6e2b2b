"""A program that logs numbered records to disk first, until it is killed.

``python -m tests.support.spool_program``; its one argument is JSON::

    {"first": number, "told": path, "threads": number, "options": KafkaHandler's}

After each call that returned it writes the number to the file ``told``. The threads take turns with
the numbers, and each of them has seven keys of its own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

from kiel_logging import KafkaHandler


def main() -> None:
    """Log until somebody kills it."""
    given = json.loads(sys.argv[1])
    logger = logging.Logger("numbered")
    logger.addHandler(KafkaHandler(**given["options"]))
    told = os.open(given["told"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    threads = given.get("threads", 1)

    def log(thread: int) -> None:
        number = given["first"] + thread
        while True:
            logger.info("%d", number, extra={"user": f"u{number % (7 * threads)}"})
            os.write(told, b"%d\n" % number)
            number += threads

    for thread in range(1, threads):
        threading.Thread(target=log, args=(thread,), daemon=True).start()
    log(0)


if __name__ == "__main__":
    main()
