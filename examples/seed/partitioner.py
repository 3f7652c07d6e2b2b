"""The Partitioner: a numeric key, modulo the number of partitions."""

from kiel_logging import clients
from tornado import gen, ioloop


def partitioner(key, partitions):
    return partitions[key % len(partitions)]


producer = clients.Producer(
    ["kafka01"], key_maker=lambda msg: msg["n"], partitioner=partitioner
)


@gen.coroutine
def run():
    yield producer.connect()
    for n in range(6):
        yield producer.produce("example.topic", {"n": n})


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(run)
