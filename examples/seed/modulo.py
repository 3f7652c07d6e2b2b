"""Modulo Strategy Example: spreads messages evenly, with a counter that is not part of them.

Runs until it is stopped, as the seed has it.
"""

from tornado import gen, ioloop
from kiel_logging import clients

counter = 0

def key_maker(msg):
    global counter

    counter += 1
    return counter

def partitioner(key, partitions):
    return partitions[key % len(partitions)]

@gen.coroutine
def produce():
    p = clients.Producer(
        ["kafka01"], key_maker=key_maker, partitioner=partitioner
    )

    yield p.connect()

    while True:
        yield p.produce("example.topic", {"how": "now", "brown": "cow"})


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(produce)
