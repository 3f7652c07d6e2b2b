"""What happened at the brokers of a fake cluster, and who waits for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.kafka_frames import Api, ReceivedRequest, api_key_of


class ClosedError(Exception):
    """The cluster was closed under somebody who waited for it."""


class Happenings:
    """Shared by the brokers of a cluster."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.complaints: list[str] = []
        self.failures: list[BaseException] = []
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._closed = False

    async def until(self, probe: Callable[[], Any]) -> Any:
        """Waits until `probe()` is true, which is asked again after every happening."""
        if found := probe():
            return found
        if self._closed:
            raise ClosedError("the fake cluster is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((probe, future))
        return await future

    def happened(self) -> None:
        """Wakes those whose time has come; their probes run now, not a loop turn later."""
        waiting, self._waiting = self._waiting, []
        for probe, future in waiting:
            if future.done():
                continue
            try:
                found = probe()
            except Exception as error:
                future.set_exception(error)
                continue
            if found:
                future.set_result(found)
            else:
                self._waiting.append((probe, future))

    def close(self) -> None:
        """Nobody waits for ever; raises what a test's own reply raised, if one did."""
        self._closed = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(ClosedError("the fake cluster was closed meanwhile"))
        self._waiting.clear()
        if self.failures:
            raise self.failures.pop(0)


def matching(
    requests: list[ReceivedRequest],
    api: Api,
    count: int,
    where: Callable[[ReceivedRequest], bool] | None,
) -> list[ReceivedRequest] | None:
    """Those requests if there are `count` of them: a probe for `until`."""
    found = [r for r in requests if r.api_key == api_key_of(api) and (where is None or where(r))]
    return found if len(found) >= count else None
