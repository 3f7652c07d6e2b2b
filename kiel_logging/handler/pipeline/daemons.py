"""What may block, beside the loop: each call on a daemon thread of its own.

Not on the loop's executor: Python waits for an executor's threads before it ends, and lets none
begin while it ends.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from kiel_logging import native
from kiel_logging.config.options import Address
from kiel_logging.handler.shipping import mark_this_thread_as_shipping
from kiel_logging.network.resolver import SocketAddress, look_up, parse_numeric


async def resolve_on_a_daemon(address: Address) -> Sequence[SocketAddress]:
    """Look ``address`` up without blocking the loop, where a thread can still be started.

    Raises:
        BrokerUnreachable: the name does not resolve.
    """
    found: Sequence[SocketAddress] = parse_numeric(address) or await run_on_a_daemon(
        functools.partial(look_up, address)
    )
    return found


async def run_on_a_daemon(function: Callable[[], Any]) -> Any:
    """Return what ``function`` returns, or raise what it raises."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def work() -> None:
        mark_this_thread_as_shipping()
        result, error = None, None
        try:
            result = function()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    try:
        native.Thread(work, "kiel_logging-aside").start()
    except RuntimeError:  # the interpreter is on its way out: no more threads
        return function()
    return await ended
