"""A Redis in memory: ``python redis_server.py`` prints its port, and serves until it is killed."""

from fakeredis import TcpFakeServer
from fakeredis.model import ClientInfo


def as_bytes(info: ClientInfo) -> bytes:
    """Return what CLIENT INFO answers, with no space in an address: RQ's client stumbles there."""
    return " ".join(f"{name}={value}".replace(" ", "") for name, value in info.items()).encode()


if __name__ == "__main__":
    ClientInfo.as_bytes = as_bytes  # type: ignore[method-assign]
    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
