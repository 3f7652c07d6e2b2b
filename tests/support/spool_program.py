"""A program that logs numbered records to disk first, until it is killed.

``python -m tests.support.spool_program``; its one argument is JSON::

    {"first": number, "numbers": path, "threads": number, "options": KafkaHandler's}

After each call that returned it appends the number to the file ``numbers``. The threads take turns
with the numbers, and each of them has seven keys.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

from kiel_logging import KafkaHandler


def main() -> None:
    """Log until this process is killed."""
    given = json.loads(sys.argv[1])
    logger = logging.Logger("numbered")
    logger.addHandler(KafkaHandler(**given["options"]))
    numbers = os.open(given["numbers"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    threads = given["threads"]

    def log(thread: int) -> None:
        number = given["first"] + thread
        while True:
            logger.info("%d", number, extra={"user": f"u{number % (7 * threads)}"})
            os.write(numbers, b"%d\n" % number)
            number += threads

    for thread in range(1, threads):
        threading.Thread(target=log, args=(thread,), daemon=True).start()
    log(0)


if __name__ == "__main__":
    main()
