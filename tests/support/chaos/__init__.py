"""Numbered messages through every fault that a cluster can have, and the account of them.

A `Site` is a producer's traffic to a cluster; a `Fault` strikes it while messages flow; `check`
reports which messages are lost, stored twice or out of order. `python -m tests.support.chaos` runs
faults in a random order for as long as you like.
"""

from .faults import FAULTS, Fault, all_brokers_down, requests_cut, responses_cut
from .report import Report, check
from .retry_log import RetryLog
from .site import ProxiedCluster, Site, open_site
from .traffic import MOST_PARTITIONS, PARTITIONS, Traffic, by_key, is_old, key_of, numbered_options

__all__ = [
    "FAULTS",
    "MOST_PARTITIONS",
    "PARTITIONS",
    "Fault",
    "ProxiedCluster",
    "Report",
    "RetryLog",
    "Site",
    "Traffic",
    "all_brokers_down",
    "by_key",
    "check",
    "is_old",
    "key_of",
    "numbered_options",
    "open_site",
    "requests_cut",
    "responses_cut",
]
