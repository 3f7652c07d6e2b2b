"""Compression Choices: gzip and snappy."""

from kiel_logging import clients, constants
from tornado import gen, ioloop

# with gzip
with_gzip = clients.Producer(["kafka01"], compression=constants.GZIP)

# with snappy
with_snappy = clients.Producer(["kafka01"], compression=constants.SNAPPY)


@gen.coroutine
def run():
    for p in (with_gzip, with_snappy):
        yield p.connect()
        yield p.produce("example.topic", {"how": "now", "brown": "cow"})


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(run)
