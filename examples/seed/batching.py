"""Batch Size: ten messages at a time, gzip'ed.

Runs until it is stopped, as the seed has it (which leaves out a parenthesis).
"""

import random
from tornado import gen, ioloop
from kiel_logging import clients, constants

# send batches of 10 messages, gzip'ed
p = clients.Producer(["kafka01"], batch_size=10, compression=constants.GZIP)

@gen.coroutine
def send():
    while True:
        yield p.produce(
            "topics.colors", {"color": random.choice(["red", "blue", "white"])}
        )


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(send)
