"""The Producer Client: connect, then produce."""

from kiel_logging import clients
from tornado import gen, ioloop

producer = clients.Producer(
    ["kafka01", "kafka02"],
    key_maker=None,
    partitioner=None,
    serializer=None,
    compression=None,
    batch_size=1,
    required_acks=1,
    ack_timeout=500,  # milliseconds
)

@gen.coroutine
def run():
    yield producer.connect()
    yield producer.produce("example.topic", {"my": "message"})


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(run)
