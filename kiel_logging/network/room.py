"""Room in the buffer: a message that finds none waits in line, for a time.

The law: none overtakes another; granted bytes are counted until they are in the buffer.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from kiel_logging.errors import BufferFull, ProducerClosed


class Room:
    """Grants bytes of a bounded buffer, first come, first served.

    Args:
        limit: most bytes.
        used: how many are in the buffer now.
    """

    def __init__(self, limit: int, used: Callable[[], int]) -> None:
        self._limit = limit
        self._used = used
        self._granted = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __repr__(self) -> str:
        return f"<Room {self._used()} of {self._limit} bytes used, {len(self._line)} waiting>"

    def _fits(self, memory: int) -> bool:
        return self._used() + self._granted + memory <= self._limit

    async def enter(self, memory: int, timeout: float) -> None:
        """Return when ``memory`` more bytes may be put in.

        They have to be, before the next await; then ``let_in()`` is due.

        Raises:
            BufferFull: there was no room for ``timeout`` seconds, or never will be.
            ProducerClosed: the producer was closed meanwhile.
        """
        if not self._line and self._fits(memory):
            return
        if memory > self._limit:
            raise BufferFull(
                f"a message that takes {memory} bytes of memory can't fit into buffer_memory="
                f"{self._limit}: raise it"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((memory, turn))
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            self._leave(memory, turn)
            if not isinstance(error, TimeoutError):
                raise
            raise BufferFull(
                f"buffer_memory={self._limit} was used up for max_block_ms={timeout * 1000:.0f}: "
                "the brokers take messages more slowly than they are produced, or not at all"
            ) from None
        self._granted -= memory  # from here on it counts as used

    def _leave(self, memory: int, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._granted -= memory
        turn.cancel()
        self.let_in()

    def let_in(self) -> None:
        """There may be room now: grant it to those at the head of the line."""
        while self._line and (self._line[0][1].done() or self._fits(self._line[0][0])):
            memory, turn = self._line.popleft()
            if not turn.done():
                self._granted += memory
                turn.set_result(None)

    def close(self) -> None:
        """Fail all that wait."""
        line, self._line = self._line, deque()
        for _, turn in line:
            if not turn.done():
                turn.set_exception(ProducerClosed("the producer was closed while this waited"))
