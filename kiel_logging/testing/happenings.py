"""The record of all that happened at the brokers of a fake cluster, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kiel_logging.testing.frames import Api, ReceivedRequest, api_key_of


class ClosedError(Exception):
    """The cluster was closed while a test waited for it."""


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
        """Wakes tests whose probes are true; the probes run now, not a loop turn later."""
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
        """Ends every wait; raises the error of a test's own reply, if there was one."""
        self._closed = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(ClosedError("the fake cluster was closed meanwhile"))
        self._waiting.clear()
        if self.failures:
            raise self.failures.pop(0)


class Observed:
    """A broker, or with no `node_id` a whole cluster, as tests see it and wait for it."""

    def __init__(self, happenings: Happenings, node_id: int | None = None) -> None:
        self.happenings = happenings
        self._node_id = node_id

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests that came here, oldest first."""
        return [r for r in self.happenings.requests if self._node_id in (None, r.node_id)]

    @property
    def complaints(self) -> list[str]:
        """The faults of requests to all brokers; a correct client leaves this empty."""
        return list(self.happenings.complaints)

    async def received(
        self, api: Api, count: int = 1, where: Callable[[ReceivedRequest], bool] | None = None
    ) -> list[ReceivedRequest]:
        """Waits until `count` such requests have come here, past ones included."""
        key = api_key_of(api)

        def matching() -> list[ReceivedRequest] | None:
            found = [r for r in self.requests if r.api_key == key and (not where or where(r))]
            return found if len(found) >= count else None

        return list(await self.until(matching))

    async def until(self, probe: Callable[[], Any]) -> Any:
        """Waits until `probe()` is true: see Happenings.until."""
        return await self.happenings.until(probe)
