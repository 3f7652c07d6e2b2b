"""Recognises records that are made while records are shipped: those must not be shipped again.

By thread and by moment, not by the name of a logger: whatever tornado, asyncio, ssl or a
serializer logs while it works for us is meant, whatever it logs otherwise is not.

A signal handler or a ``__del__`` may run on top of the conversion of a record, and has nothing to
do with it: what it logs is the program's. The stack shows it. The garbage collector, or a last
reference, calls finalisers on the loop thread too. That thread must not wait for locks that
logging threads hold, so another one emits what they log (``emit_aside()``).
"""

import contextlib
import functools
import gc
import inspect
import logging
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from kiel_logging import native

T = TypeVar("T")


class _Here(threading.local):
    depth = 0


here: Final = _Here()
"""This thread's depth: 0 where the program works for itself.

On a thread that logs it is changed and put back within one ``try``. A signal handler that raises
(a time limit, Ctrl-C) may do so when a function begins, ``__exit__`` for one: the thread would be
taken for shipping for good.
"""


_ALWAYS: Final = 1 << 30

_MOST_NESTED: Final = 4
"""Conversions on top of each other whose finalisers log for the program."""


def mark_this_thread_as_shipping() -> None:
    """Note that this thread does nothing but ship records."""
    here.depth = _ALWAYS


def is_shipping() -> bool:
    """Whether the code that logs works for a handler."""
    return here.depth > 0 and not (here.depth < _ALWAYS and _interrupted())


def as_shipping(work: Callable[..., T], *arguments: Any) -> T:
    """Return what ``work(*arguments)`` returns, which works for a handler: a key maker, say."""
    depth, here.depth = here.depth, here.depth + 1
    try:
        return work(*arguments)
    finally:
        here.depth = depth


@contextmanager
def not_shipping() -> Iterator[None]:
    """Return a block that works for the program again, such as its fallback handler."""
    depth, here.depth = here.depth, 0
    try:
        yield
    finally:
        here.depth = depth


def _interrupted() -> bool:
    """Whether a signal handler or a finaliser runs on top of the conversion.

    A finaliser not for ever: what it logs while its own record is converted may be a loop.
    """
    handlers = set(map(_code_of, map(signal.getsignal, signal.valid_signals())))
    frames = _frames_of_the_program(handlers)
    if any(frame.f_code in handlers for frame in frames):
        return True
    if not frames or here.depth > _MOST_NESTED:
        return False
    return _is_collecting() or any(map(_is_finaliser, frames))


_OURS: Final = frozenset({"kiel_logging", "tornado", "asyncio"})
"""The packages whose code ships."""

_FINALIZE: Final = weakref.finalize.__call__.__code__


def _frames_of_the_program(handlers: Container[CodeType | None] = ()) -> list[FrameType]:
    """Return the frames between the logging call and our code, on top of which it is.

    A signal handler in ``handlers`` belongs to the program, ours for SIGTERM too: it calls the one
    that the program had set before.
    """
    frame: FrameType | None = sys._getframe()
    for package in ("kiel_logging", "logging"):
        while frame is not None and _package(frame) == package:
            frame = frame.f_back
    frames = []
    while frame is not None and (_package(frame) not in _OURS or frame.f_code in handlers):
        frames.append(frame)
        frame = frame.f_back
    return frames


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_finaliser(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "__del__" or code is _FINALIZE or any(map(_is_dead, _arguments(frame)))


def _arguments(frame: FrameType) -> list[Any]:
    """Return the positional arguments of a call, as they are by now."""
    code, values = frame.f_code, frame.f_locals
    found = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & inspect.CO_VARARGS:
        more = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        found += more if isinstance(more, tuple) else ()
    return found


def _is_dead(argument: Any) -> bool:
    """Whether it is what the callback of a weak reference gets: one whose object is gone."""
    return issubclass(type(argument), weakref.ref) and weakref.ref.__call__(argument) is None


_collector: int | None = None
"""The thread on which the garbage collector runs. Python has one collection at a time.

Finalisers run there, and callbacks of weak references, which look like other functions.
"""


def _note_collection(
    phase: str, _info: object, get_ident: Callable[[], int] = native.get_ident
) -> None:
    global _collector
    _collector = get_ident() if phase == "start" else None


gc.callbacks.append(_note_collection)


def _is_collecting() -> bool:
    return _collector == native.get_ident()


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)
    if callable(handler) and not hasattr(function, "__code__"):  # an object that can be called
        function = getattr(type(handler), "__call__", None)  # noqa: B004 # it can, and how?
    return getattr(function, "__code__", None)


# Finalisers on the loop thread.


def is_finalising() -> bool:
    """Whether a finaliser of the program's logs, on top of a thread that ships.

    Code that the thread itself calls, such as a partitioner, a handler of its log records, an audit
    hook, does not count. A finaliser on top of such code does not either: that could be a loop.
    """
    if here.depth < _ALWAYS:
        return False
    called = [
        frame
        for frame in _frames_of_the_program()
        if _is_finaliser(frame) or _package(frame) not in sys.stdlib_module_names
    ]
    return called != [] and (_is_collecting() or _is_finaliser(called[-1]))


_aside: deque[tuple[logging.Handler, logging.LogRecord]] = deque()
_emitting = native.Lock()


def emit_aside(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Have another thread emit ``record``."""
    _aside.append((handler, record))
    if _emitting.acquire(blocking=False):
        try:
            native.start_new_thread(_emit_all, (_emitting,))
        except RuntimeError:  # none can be had: the end of the process will do
            _emitting.release()


def _emit_all(emitting: Any) -> None:
    while True:
        try:
            _emit_those_aside()
        finally:
            emitting.release()
        if not _aside or not emitting.acquire(blocking=False):
            return


def _emit_those_aside() -> None:
    with contextlib.suppress(IndexError):
        while True:
            handler, record = _aside.popleft()
            handler.emit(record)


def settle_aside(timeout: float) -> None:
    """Emit what finalisers logged; wait at most ``timeout`` seconds for a thread that does so."""
    if here.depth or not (_aside or _emitting.locked()):
        return
    _emit_those_aside()
    if native.acquire(_emitting, timeout):
        _emitting.release()


def forget_aside() -> None:
    """Leave these records to the parent, of which this process is a forked child."""
    global _emitting, _collector
    if not _is_collecting():
        _collector = None
    _aside.clear()
    _emitting = native.Lock()
