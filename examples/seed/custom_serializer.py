"""The Serializer: messages that are no dictionaries.

The seed calls ``msg.serializer()``, which its Thing doesn't have: ``msg.serialize()`` is meant.
"""

import json
from kiel_logging import clients
from tornado import gen, ioloop


class Thing(object):

    def __init__(self, stuff):
        self.stuff = stuff

    # etc...

    def serialize(self):
        return json.dumps({"stuff": self.stuff})


def serializer(msg):
    return msg.serialize()

p = clients.Producer(["broker01"], serializer=serializer)


@gen.coroutine
def produce():
    yield p.connect()

    thing = Thing(stuff="foo")

    yield p.produce("example.things", thing)


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(produce)
