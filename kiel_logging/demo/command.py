"""The options of ``kiel-logging demo``, and the steps of a run."""

import argparse
import json
import sys
from typing import Final

from kiel_logging.arguments import require, whole
from kiel_logging.demo.shop import Shop, logging_config, plan
from kiel_logging.wire.compression import NAMES

_EXACTLY_ONCE, _LOST_OR_REPEATED = range(2)
_positive: Final = whole(1, 100_000_000)

DESCRIPTION: Final = """\
Logs a small web shop's traffic (visitors, carts, checkouts, payments that fail) through
kiel_logging.KafkaHandler, from several threads into several topics, while an independent client
reads everything back. Then it shows a few records, where all of them are, how well they were
compressed, how long it took, and whether any record was lost or repeated.

It starts three mock brokers on loopback sockets. With --brokers it uses yours instead.

With --view it prints the address of a page for a browser on this host, that of kiel-logging view,
with buttons that stop a broker and tamper with a record. With --cluster only the brokers run, for
records of yours.
"""

EPILOG: Final = """\
exit status:
  0    every record arrived exactly once
  1    a record was lost or repeated
  2    wrong options, the demo could not run, or the output could not be written
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to ``parser``."""
    add = parser.add_argument
    add("--records", type=_positive, default=20_000, metavar="N", help="log records (%(default)s)")
    add("--threads", type=_positive, default=4, metavar="N", help="that log (%(default)s)")
    rate = "records a second for two seconds, the rest flat out (1000); with --view always (20)"
    add("--rate", type=_positive, metavar="N", help=rate)
    add("--seed", type=int, default=1, metavar="N", help="repeats the same visits (%(default)s)")
    add("--compression", choices=(*NAMES, "none"), default=NAMES[0], help="(%(default)s)")
    one_of = parser.add_mutually_exclusive_group().add_argument
    one_of("--brokers", type=_addresses, metavar="HOST:PORT,...", help="a cluster of yours")
    one_of("--view", action="store_true", help="keep the shop open until Ctrl-C, and show its page")
    one_of("--cluster", action="store_true", help="start the mock brokers alone, until Ctrl-C")
    add("--keep-topics", action="store_true", help="with --brokers: don't delete the topics")
    add("--show-config", action="store_true", help="print the dictConfig dictionary, and end")


def run(options: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    codec = None if options.compression == "none" else options.compression
    if options.show_config:
        config = logging_config(options.brokers or "localhost:9092", codec, "shop.")
        sys.stdout.write(json.dumps(config, indent=2) + "\n")
        return _EXACTLY_ONCE
    require("demo", "confluent_kafka")
    from kiel_logging.demo.cluster import mock_cluster, real_cluster
    from kiel_logging.demo.day import keep_cluster, spend_day, stay_open
    from kiel_logging.demo.report import report

    shop, phases = Shop(options.threads, options.seed), plan(options.records, options.rate or 1_000)
    if options.cluster:
        keep_cluster()
    if options.view:
        stay_open(shop, options.rate or 20, codec)
    own = options.brokers
    brokers = real_cluster(own, keep=options.keep_topics) if own else mock_cluster()
    day = spend_day(shop, phases, codec, brokers)
    for line in report(day):
        sys.stdout.write(line + "\n")
    return _EXACTLY_ONCE if day.tally.is_exactly_once else _LOST_OR_REPEATED


def _addresses(text: str) -> str:
    for address in text.split(","):
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal()):
            raise argparse.ArgumentTypeError(f"{address!r} is not of the form host:port")
    return text
