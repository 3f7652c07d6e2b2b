"""Whether the running code works for a handler: by thread, and by what is on the stack."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from kiel_logging.handler.recursion import (
    _MOST_NESTED,
    is_shipping,
    mark_this_thread_as_shipping,
    not_shipping,
    shipping,
)
from kiel_logging.record.conversion import Conversion


def during_a_conversion(work: Callable[[], object]) -> None:
    """Run `work` as a key maker, the way that a handler does."""
    conversion = Conversion(
        topic="logs",
        key_field=None,
        key_maker=lambda _fields: work() and None,
        headers=None,
        format="json",
        serializer=None,
        context=None,
        fields=None,
        rename=None,
        exclude=None,
        redact=None,
        max_size=1_000_000,
        keep_source=False,
    )
    with shipping:
        conversion.convert(logging.makeLogRecord({}), None)


def on_another_thread(work: Callable[[], object]) -> None:
    """Run `work` there, and wait."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_code_is_not_shipping() -> None:
    """Unless it is marked."""
    assert not is_shipping()


def test_inside_and_after() -> None:
    """It nests, and ends with an error as well."""
    with shipping:
        with contextlib.suppress(KeyError), shipping:
            assert is_shipping()
            raise KeyError
        assert is_shipping()
    assert not is_shipping()


def test_it_is_a_matter_of_the_thread() -> None:
    """Other threads are not shipping meanwhile."""
    seen: list[bool] = []
    with shipping:
        on_another_thread(lambda: seen.append(is_shipping()))
    assert seen == [False]


def test_a_thread_that_does_nothing_else() -> None:
    """All that it does is shipping, however deep; other threads are as they were."""
    seen: list[bool] = []

    def work() -> None:
        mark_this_thread_as_shipping()
        seen.append(is_shipping())
        with shipping:
            seen.append(is_shipping())
        seen.append(is_shipping())

    on_another_thread(work)
    assert seen == [True] * 3
    assert not is_shipping()


def test_not_shipping() -> None:
    """A fallback works for the program; what surrounds it is as it was, after an error as well."""
    with shipping, shipping:
        with contextlib.suppress(KeyError), not_shipping():
            assert not is_shipping()
            with shipping:
                assert is_shipping()
            raise KeyError
        assert is_shipping()
    assert not is_shipping()


def test_a_conversion_is_shipping() -> None:
    """The key maker runs for the handler."""
    seen: list[bool] = []
    during_a_conversion(lambda: seen.append(is_shipping()))
    assert seen == [True]


def test_a_finaliser_on_top_of_a_conversion() -> None:
    """It runs for the program, though on the same stack; below too many others it does not."""
    seen: list[bool] = []

    def nest(levels: int) -> None:
        seen.append(is_shipping())
        if levels:
            during_a_conversion(lambda: nest(levels - 1))

    class Session:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            nest(_MOST_NESTED)

    Session()
    during_a_conversion(gc.collect)
    assert seen == [False] * _MOST_NESTED + [True]


def test_a_signal_handler_on_top_of_a_conversion() -> None:
    """So does a signal handler, and what it calls."""
    seen: list[bool] = []

    def see() -> None:
        seen.append(is_shipping())

    def on_signal(_number: int, _frame: Any) -> None:
        see()

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        during_a_conversion(lambda: signal.raise_signal(signal.SIGUSR1))
        during_a_conversion(see)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [False, True]


def test_a_conversion_on_top_of_a_signal_handler() -> None:
    """The key maker of a record that a signal handler logs works for the handler of records."""
    seen: list[bool] = []

    def on_signal(_number: int, _frame: Any) -> None:
        during_a_conversion(lambda: seen.append(is_shipping()))

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [True]
