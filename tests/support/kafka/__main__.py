"""A Kafka cluster to develop against: `python -m tests.support.kafka`, until Ctrl-C."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from . import (
    DEFAULT_VERSION,
    LISTENERS,
    VERSIONS,
    ClientCertificate,
    KafkaCluster,
    Security,
    kafka_unavailable_reason,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Start a cluster, say where it listens, and keep it until a signal."""
    arguments = _parser().parse_args(argv)
    reason = kafka_unavailable_reason(arguments.version)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    for each in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores SIGINT
        signal.signal(each, signal.default_int_handler)
    try:
        _serve(arguments.version, arguments.brokers, secured=arguments.secured)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return 0


def _serve(version: str, brokers: int, *, secured: bool) -> None:
    print(f"starting Apache Kafka {version}, {brokers} brokers", flush=True)
    began = time.monotonic()
    with KafkaCluster(version, brokers, secured=secured) as cluster:
        print(f"ready after {time.monotonic() - began:.1f} s; bootstrap servers:")
        print(",".join(cluster.bootstrap))
        if secured:
            print(_described(cluster.security))
        print("Ctrl-C stops them", flush=True)
        while True:
            signal.pause()


def _described(security: Security) -> str:
    lines = [f"{name:15} {','.join(security.bootstrap(name))}" for name in LISTENERS]
    lines += [f"user {name:10} {password}" for name, password in security.users.items()]
    lines += [f"authority       {security.ca_file}", f"another         {security.other_ca_file}"]
    return "\n".join([*lines, _certificate(security.client_certificate)])


def _certificate(client: ClientCertificate) -> str:
    encrypted = f"{client.encrypted_key_file}, password {client.key_password}"
    return f"user {client.user:10} {client.cert_file}, {client.key_file} or {encrypted}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.kafka", description=__doc__)
    parser.add_argument("--version", default=DEFAULT_VERSION, help=f"such as {', '.join(VERSIONS)}")
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--secured", action="store_true", help="with TLS and SASL listeners")
    return parser


if __name__ == "__main__":
    sys.exit(main())
