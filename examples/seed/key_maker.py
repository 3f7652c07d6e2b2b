"""The Key Maker: messages of one user share a key."""

from kiel_logging import clients
from tornado import gen, ioloop


def key_maker(msg):
    return msg.get("user_id")


producer = clients.Producer(["kafka01"], key_maker=key_maker)


@gen.coroutine
def run():
    yield producer.connect()
    yield producer.produce("activity.logins", {"user_id": "ada"})
    yield producer.produce("activity.logins", {"no": "user"})


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(run)
