"""The accelerator in C: optional, and hard to break from Python. What it returns is compared with
what Python does where that is tested.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kiel_logging.handler import quick_handle, slices
from kiel_logging.handler.buffer import Counts, queue_up
from kiel_logging.journal.frames import RECORD, Frame, encode
from kiel_logging.partitioners import murmur2_hash
from kiel_logging.proof.stamper import stamp
from kiel_logging.record.item import Item
from kiel_logging.records import Record
from kiel_logging.wire.record_batch import encode_records, latest_timestamp
from tests.record.test_conversion import conversion, record

PURE = """
import sys
sys.modules["kiel_logging._accelerator"] = None
from kiel_logging import partitioners
from kiel_logging.proof import stamper
from kiel_logging.wire import record_batch
from kiel_logging.handler import quick_handle
from kiel_logging.handler import buffer as counts
from kiel_logging.handler import slices
assert stamper.stamp is stamper.stamp_in_python
assert record_batch.encode_records is record_batch.encode_records_in_python
assert partitioners.murmur2_hash is partitioners._murmur2_remembered
assert record_batch.latest_timestamp is record_batch.latest_timestamp_in_python
assert counts.Counts is counts.CountsInPython
assert counts.queue_up is counts.queue_up_in_python
for name in ("take", "group", "records_of", "sizes_of", "memory_of"):
    assert getattr(slices, name) is getattr(slices, name + "_in_python")
from kiel_logging.record import quick
assert not quick.IN_C
assert not quick_handle.IN_C
from kiel_logging.handler.spool import records
assert not records.IN_C
"""


def test_it_is_there_where_it_can_be() -> None:
    """Where there is a C compiler, the tests compare both."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    module = importlib.import_module("kiel_logging._accelerator")
    assert encode_records is module.encode_records
    assert murmur2_hash is module.murmur2
    assert stamp is module.stamp


def test_all_works_without_it() -> None:
    """What is in Python takes its place."""
    subprocess.run([sys.executable, "-c", PURE], check=True)


SEED = 7
FRAME = encode(Frame(RECORD, None, None, b"x", (), 1, 20), SEED)
ITEM = ("logs", None, Record(None, None, (), 0), 36, 36)
STAMP = ([ITEM], ("kiel-instance", b"a"), "kiel-sequence", {"logs": 1})
QUEUED: Any = (Counts(1, 1, 1), [], [].append, ITEM)
GOOD = (1.0, b'"', "text", b"", {}, 0, {}, frozenset(), b"}", 1_000)
needs_c = pytest.mark.skipif(not quick_handle.IN_C, reason="there is no C compiler")


def compose(*parts: Any) -> bytes | None:
    """What C makes of the parts of a value."""
    module = importlib.import_module("kiel_logging._accelerator")
    made: bytes | None = module.compose(*parts)
    return made


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode_records((), 0, 0),  # type: ignore[arg-type]
        lambda: encode_records([object()], 0, 0),  # type: ignore[list-item]
        lambda: encode_records([("key", b"", (), 0)], 0, 0),  # type: ignore[list-item]
        lambda: encode_records([(b"", b"", [], 0)], 0, 0),  # type: ignore[list-item]
        lambda: encode_records([Record(b"", b"", ((b"name", b""),), 0)], 0, 0),  # type: ignore[arg-type]
        lambda: encode_records([Record(b"", b"", (("name", "text"),), 0)], 0, 0),  # type: ignore[arg-type]
        lambda: encode_records([Record(b"", b"", (("\ud800", b""),), 0)], 0, 0),
        lambda: encode_records([Record(b"", b"", (), 2**64)], 0, 0),
        lambda: murmur2_hash("text"),  # type: ignore[arg-type]
        lambda: latest_timestamp(()),
        lambda: latest_timestamp([]),
        lambda: latest_timestamp([object()]),
        lambda: latest_timestamp([Record(b"", b"", (), 2**64)]),
        lambda: Counts(),  # type: ignore[call-arg]
        lambda: Counts("1", 2, 3),  # type: ignore[arg-type]
        *[
            lambda place=place: queue_up(*QUEUED[:place], object(), *QUEUED[place + 1 :])
            for place in (0, 3)
        ],
        lambda: queue_up(*QUEUED[:3], ITEM[:4]),  # type: ignore[arg-type]
        lambda: slices.take([].pop, "x"),  # type: ignore[arg-type]
        lambda: slices.take([].pop),  # type: ignore[call-arg]
        lambda: slices.group((ITEM,), {}, list),  # type: ignore[arg-type]
        lambda: slices.group([object()], {}, list),  # type: ignore[list-item]
        lambda: slices.group([ITEM], {"logs": []}, list),  # type: ignore[dict-item,list-item]
        lambda: slices.group([ITEM], {"logs": {None: ()}}, list),  # type: ignore[dict-item,list-item]
        lambda: slices.group([("logs", [], *ITEM[2:])], {"logs": {}}, list),  # type: ignore[list-item]
        *[
            lambda function=function, items=items: function(items)
            for function in (slices.records_of, slices.sizes_of, slices.memory_of)
            for items in ((), [object()], [(1, 2)])
        ],
        lambda: stamp(),  # type: ignore[call-arg]
        *[
            lambda place=place: stamp(*STAMP[:place], object(), *STAMP[place + 1 :])
            for place in range(4)
        ],
        *[
            lambda place=place: stamp(
                [ITEM, (*ITEM[:place], object(), *ITEM[place + 1 :])], *STAMP[1:3], {}
            )
            for place in (0, 2, 3)
        ],
        lambda: stamp([ITEM[:3]], *STAMP[1:3], {}),
        lambda: stamp([(*ITEM[:3], 2**64)], *STAMP[1:3], {}),
        lambda: stamp([ITEM], ("kiel-instance",), *STAMP[2:]),  # type: ignore[arg-type]
        *[
            lambda last=last: stamp([ITEM], *STAMP[1:3], {"logs": last})
            for last in ("x", -1, 2**64)
        ],
    ],
)
def test_it_refuses_what_it_can_not_take(call: Callable[[], Any]) -> None:
    """With an exception, as Python code would."""
    with pytest.raises((TypeError, ValueError, OverflowError, ZeroDivisionError, AttributeError)):
        call()


@needs_c
@pytest.mark.parametrize("place", [1, 3, 4, 5, 6, 7, 8, 9])
def test_the_parts_of_a_value_are_checked(place: int) -> None:
    """A part of another type is refused; a time or a message of one needs care."""
    assert compose(*GOOD) is not None
    with pytest.raises(TypeError):
        compose(*GOOD[:place], object(), *GOOD[place + 1 :])
    with pytest.raises(TypeError):
        compose()
    assert compose(object(), *GOOD[1:]) is compose(*GOOD[:2], object(), *GOOD[3:]) is None


@needs_c
@pytest.mark.parametrize(
    "value",
    ["x" * 1_000, "\x01" * 900, "é" * 600, ["x"] * 600, {"k" * 100: 1, "l" * 950: 2}],
    ids=["text", "escapes", "two bytes", "list", "keys"],
)
def test_what_is_too_large_needs_care_before_it_is_written(value: Any) -> None:
    """C does not write what has to be cut anyway."""
    assert compose(*GOOD[:4], {"a": value}, *GOOD[5:]) is None


@needs_c
def test_a_quick_handle_is_made_of_what_it_needs() -> None:
    """It refuses anything else, and to be made twice."""
    module = importlib.import_module("kiel_logging._accelerator")
    good: dict[str, Any] = {
        "own": {},
        "settings": conversion().settings_in_c,
        "here": None,
        "tallies": {},
        "counts": Counts(1, 1, 1),
        "queue": [],
        "append": len,
        "told": len,
        "with_care": len,
    }
    for name in ("own", "settings", "tallies", "counts"):
        with pytest.raises(TypeError):
            module.QuickHandle(**{**good, name: object()})
    with pytest.raises(TypeError):
        module.QuickHandle(**{**good, "settings": ()})
    with pytest.raises(TypeError, match="not made"):
        module.QuickHandle.__new__(module.QuickHandle)(1)
    made = module.QuickHandle(**good)
    with pytest.raises(TypeError, match="once"):
        made.__init__(**good)
    assert made("four") == 4  # it has no filters, as a handler has: with care, then


@needs_c
def test_what_is_read_of_frames_is_checked() -> None:
    """Arguments of other types, and settings that are none, are refused; so is no room at all."""
    module = importlib.import_module("kiel_logging._accelerator")
    names: tuple[Any, ...] = ("logs", Record, Item, 36, 400)
    settings = module.item_settings(*names)
    good = (b"block", 0, 1, 0, settings)
    assert module.scan_items(*good) == ([], [], 0)
    items, ends, at = module.scan_items(3 * FRAME, len(FRAME), 1, SEED, settings)
    assert (len(items), ends, at) == (1, [2 * len(FRAME)], 2 * len(FRAME))
    assert module.scan_items(b"block", 9, 1, 0, settings) == ([], [], 9)
    assert module.scan_items(b"block", -9, 1, 0, settings) == ([], [], -9)
    for place in range(len(good)):
        with pytest.raises(TypeError):
            module.scan_items(*good[:place], object(), *good[place + 1 :])
    bad = [(0, b"logs"), (1, ()), (1, int), (2, list), (3, "36"), (3, 2**64), (3, -1), (4, -1)]
    for place, other in bad:
        with pytest.raises(TypeError):
            module.item_settings(*names[:place], other, *names[place + 1 :])
    for call in (module.item_settings, module.scan_items, module.pack_frame):
        with pytest.raises(TypeError):
            call()
    for waiter, seed in (("x", 0), (-1, 0), (2**64, 0), (0, "x")):
        [item], _, _ = module.scan_items(FRAME, 0, 1, SEED, settings)
        with pytest.raises((TypeError, OverflowError)):
            module.pack_frame(item, waiter, seed)


@needs_c
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_that_c_code_makes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs no hooks of Python's, so that the child still has the parent's quick handle."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    module = importlib.import_module("kiel_logging._accelerator")
    queue, careful = deque[Any](), list[Any]()
    handle = module.QuickHandle(
        own={"filters": [], "formatter": None},
        settings=conversion().settings_in_c,
        here=SimpleNamespace(depth=0),
        tallies={},
        counts=Counts(10, 100_000, 10),
        queue=queue,
        append=queue.append,
        told=lambda _queued: None,
        with_care=careful.append,
    )
    handle(record())
    assert (len(queue), len(careful)) == (1, 0)
    child = ctypes.PyDLL(None).fork()  # with the GIL held, as uWSGI does it
    if child == 0:
        try:
            handle(record())
        finally:
            os._exit(10 * len(queue) + len(careful))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
    handle(record())
    assert (len(queue), len(careful)) == (2, 0)
