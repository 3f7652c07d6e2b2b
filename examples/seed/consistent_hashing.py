"""Consistent Hashing Example: a user's messages go to one partition, also when some are added.

The seed's hash_ring stopped at Python 2; uhashring has the same interface.
"""

from uhashring import HashRing
from tornado import gen, ioloop
from kiel_logging import clients

# this could be simplified to a simple operator.itemgetter("user_id")
def key_maker(msg):
    return msg["user_id"]

def partitioner(key, partitions):
    ring = HashRing(partitions)
    return ring.get_node(key)

p = clients.Producer(
    ["kafka01"], key_maker=key_maker, partitioner=partitioner
)


class Handler:
    """Stands for the seed's web handler."""

    user_id = "ada"

    # meanwhile in some handler somewhere...
    @gen.coroutine
    def get(self):
        # do some stuff...
        yield p.produce("activity.logins", {"user_id": self.user_id})


@gen.coroutine
def run():
    for _ in range(3):
        yield Handler().get()


if __name__ == "__main__":
    ioloop.IOLoop.current().run_sync(run)
