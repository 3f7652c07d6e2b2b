"""``handle()`` in one call of C, in front of the handler's own, where both do the same.

It converts, checks for room, and queues or appends to a journal, without any Python code in
between; so it needs no lock.
Whatever needs care it leaves to the handler's own ``handle()``: a record that is no plain one, a
handler with filters or a formatter, a full buffer, a receipt that is waited for.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from kiel_logging.handler.pipeline import Pipeline
from kiel_logging.handler.recursion import here

try:
    from kiel_logging._accelerator import QuickHandle
except ImportError:  # there was no C compiler
    IN_C = False
else:
    IN_C = True

_THE_WAY: Final = ("handle", "filter", "emit", "format")
"""Of a record through a handler: a subclass that overrides any of it means it."""


_TOPIC: Final = 10
"""The topic's place in the settings, as in accelerator.h."""


def quick_handle(
    handler: logging.Handler,
    base: type[logging.Handler],
    *,
    settings: tuple[Any, ...] | None,
    tallies: dict[Any, Any],
    pipeline: Pipeline,
) -> Callable[[logging.LogRecord], Any] | None:
    """Return what can take the place of ``handler.handle``; None where nothing can.

    Args:
        handler: whose records they are.
        base: the class whose ways it does.
        settings: how C converts; None where it can't.
        tallies: empty while nobody awaits a receipt.
        pipeline: where the items go.
    """
    if not IN_C or settings is None:
        return None
    buffer, kind = pipeline.buffer, type(handler)
    queue, tail = buffer.quick_queue, pipeline.tail(settings[_TOPIC])
    if queue is None and tail is None:
        return None
    if any(getattr(kind, name) is not getattr(base, name) for name in _THE_WAY):
        return None
    return QuickHandle(
        own=handler.__dict__,
        settings=settings,
        here=here,
        tallies=tallies,
        counts=buffer.counts,
        queue=queue,
        append=None if queue is None else queue.append,
        told=buffer.tell,
        with_care=kind.handle.__get__(handler),
        **({} if tail is None else {"tail": tail}),
    )
