"""Faults of a cluster while messages flow: one function each, and the table of them.

Each strikes in a burst of messages, at a count of acknowledged ones, and returns when the cluster
is whole again. Waits are for events; a wait by the clock says why.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .proxy import Way
from .site import Site

_ALL_DOWN = 20.0
"""Seconds without any broker."""

_ADDED = 3
_SHARES = (0.01, 0.5, 0.99)
"""How much of a frame goes through before its connection is cut."""


async def leader_killed(site: Site) -> None:
    """The leader is killed with SIGKILL, another takes over, and the first one comes back."""
    leader = await site.leader()
    await site.traffic.burst()
    await site.aside(site.cluster.kill, leader)
    await site.traffic.delivered_anew(0)
    await site.traffic.burst()
    await site.aside(site.cluster.start, leader)
    await site.in_sync()


async def brokers_restarted(site: Site) -> None:
    """Every broker is restarted in turn, each when the one before it has caught up."""
    for broker in site.cluster.broker_ids:
        await site.traffic.burst()
        await site.aside(site.cluster.stop, broker)
        await site.aside(site.cluster.start, broker)
        await site.in_sync()


async def leader_frozen(site: Site) -> None:
    """The leader is stopped with SIGSTOP until a request timed out, and resumes with SIGCONT.

    It is still the leader then, and first handles the requests from before the timeout.
    """
    leader = await site.leader()
    await site.traffic.burst()
    await site.aside(site.cluster.pause, leader)
    # Lost, where the machine is so slow that the cluster gave the broker up before we did.
    await site.retries.next("RequestTimedOut", "ConnectionLost")
    await site.aside(site.cluster.resume, leader)
    await site.traffic.delivered_anew(0)
    await site.in_sync()


async def leader_replaced_while_frozen(site: Site) -> None:
    """The leader is stopped with SIGSTOP until another leads, and wakes up in the past."""
    leader = await site.leader()
    await site.traffic.burst()
    await site.aside(site.cluster.pause, leader)
    await site.traffic.delivered_anew(0)
    await site.traffic.burst()
    await site.aside(site.cluster.resume, leader)
    await site.in_sync()


async def requests_cut(site: Site) -> None:
    """Connections are cut in the middle of a request: the broker never has it all."""
    await _cut(site, Way.REQUEST)


async def responses_cut(site: Site) -> None:
    """Connections are cut in the middle of a response: the broker did what it was asked."""
    await _cut(site, Way.RESPONSE)


async def _cut(site: Site, way: Way) -> None:
    for share in _SHARES:
        for proxy in site.proxies.values():
            await site.traffic.burst(3_000)
            await proxy.cut(way, share)


async def all_brokers_down(site: Site) -> None:
    """All brokers are killed, stay away for twenty seconds, and come back."""
    await site.traffic.burst()
    await site.aside(site.cluster.each, site.cluster.kill)
    await asyncio.sleep(_ALL_DOWN)  # by the clock: the duration is the fault
    await site.aside(site.cluster.each, site.cluster.start)
    await site.traffic.delivered_anew(0)
    await site.in_sync()


async def partitions_added(site: Site) -> None:
    """The topic gains partitions, and messages go there."""
    await site.traffic.burst()
    known = len(site.traffic.acknowledged)
    await site.aside(site.cluster.add_partitions, site.topic, known + _ADDED)
    added = range(known, known + _ADDED)
    await site.traffic.until(lambda: all(site.traffic.acknowledged[each] for each in added))


async def preferred_leader_elected(site: Site) -> None:
    """Leadership, moved away by a restart, is given back by an election."""
    await site.aside(site.cluster.elect_preferred, site.topic)  # undo what other faults did
    leader = await site.leader()
    await site.aside(site.cluster.stop, leader)
    await site.aside(site.cluster.start, leader)
    await site.in_sync()
    assert await site.leader() != leader
    await site.traffic.burst()
    await site.aside(site.cluster.elect_preferred, site.topic)
    assert await site.leader() == leader
    await site.traffic.delivered_anew(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and how a test knows that it struck.

    Attributes:
        retried: whether the producer can't but send something again.
        proxied: whether its connections have to go through the proxies.
    """

    strike: Callable[[Site], Awaitable[None]]
    retried: bool = True
    proxied: bool = False

    def __str__(self) -> str:
        return getattr(self.strike, "__name__", repr(self.strike))


FAULTS = (
    Fault(strike=leader_killed),
    Fault(strike=brokers_restarted),
    Fault(strike=leader_frozen),
    Fault(strike=requests_cut, proxied=True),
    Fault(strike=responses_cut, proxied=True),
    Fault(strike=all_brokers_down),
    Fault(strike=partitions_added, retried=False),
    Fault(strike=preferred_leader_elected),
    Fault(strike=leader_replaced_while_frozen),
)
