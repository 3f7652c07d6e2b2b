"""The options of ``kiel-logging demo``. Imports nothing that the extra ``demo`` brings."""

import argparse
import sys
from dataclasses import dataclass
from typing import Final

from kiel_logging import constants
from kiel_logging.extras import advice

_NEEDS: Final = ("confluent_kafka", "rich")
_CANNOT_RUN: Final = 2
_UNCOMPRESSED: Final = "none"
_COMPRESSIONS: Final = (
    constants.SNAPPY,
    constants.GZIP,
    constants.LZ4,
    constants.ZSTD,
    _UNCOMPRESSED,
)

_DESCRIPTION: Final = """\
Logs a small web shop's traffic (visitors, carts, checkouts, payments that fail) through
kiel_logging.KafkaHandler from several threads into several topics, while an independent client
reads everything back. Then it shows what arrived where, how well it was compressed, how long it
took, and whether any record was lost or duplicated.

Without --brokers it starts three mock brokers on loopback sockets: nothing else is needed.
"""

_EPILOG: Final = """\
exit status:
  0  every record arrived exactly once
  1  a record was lost or duplicated
  2  the demo could not run
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """What the command line asked for.

    ``brokers`` is None for the mock cluster, ``rate`` is in records a second, ``compression`` is
    None for none.
    """

    brokers: str | None
    records: int
    threads: int
    rate: int
    compression: str | None
    seed: int
    keep_topics: bool
    show_config: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    _add_traffic_options(parser)
    _add_cluster_options(parser)


def _add_traffic_options(parser: argparse.ArgumentParser) -> None:
    traffic = parser.add_argument_group("the traffic")
    add = traffic.add_argument
    add("--records", type=_positive, default=20_000, metavar="N", help="log records (%(default)s)")
    add("--threads", type=_positive, default=4, metavar="N", help="that log them (%(default)s)")
    add(
        "--rate",
        type=_positive,
        default=1_000,
        metavar="N",
        help="records a second in the first two seconds, the steady phase in which the latency "
        "is that of a program with other work to do; the rest is logged flat out (%(default)s)",
    )
    add(
        "--seed", type=int, default=1, metavar="N", help="the same seed logs the same (%(default)s)"
    )


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    cluster = parser.add_argument_group("the way to Kafka")
    add = cluster.add_argument
    add(
        "--compression",
        choices=_COMPRESSIONS,
        default=constants.SNAPPY,
        help="of the record batches; lz4 and zstd are extras of the package (%(default)s)",
    )
    add(
        "--brokers",
        type=_addresses,
        metavar="HOST:PORT,...",
        help="send to this cluster instead of the mock one, to topics of this run's own",
    )
    add("--keep-topics", action="store_true", help="with --brokers: leave those topics there")
    add(
        "--show-config",
        action="store_true",
        help="print the logging.config.dictConfig dictionary, as JSON, and do nothing else",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    if lacking := advice("demo", "demo", _NEEDS):
        sys.stderr.write(lacking)
        return _CANNOT_RUN
    from kiel_logging.demo.demonstration import demonstrate

    return demonstrate(options_of(arguments))


def options_of(arguments: argparse.Namespace) -> DemoOptions:
    """Return the parsed arguments with their types."""
    compression = arguments.compression
    return DemoOptions(
        brokers=arguments.brokers,
        records=arguments.records,
        threads=arguments.threads,
        rate=arguments.rate,
        compression=None if compression == _UNCOMPRESSED else compression,
        seed=arguments.seed,
        keep_topics=arguments.keep_topics,
        show_config=arguments.show_config,
    )


def _positive(text: str) -> int:
    try:
        number = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _addresses(text: str) -> str:
    addresses = [address.strip() for address in text.split(",")]
    for address in addresses:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise argparse.ArgumentTypeError(f"{address!r} is not of the form host:port")
    return ",".join(addresses)
