"""The compiled code is optional, and hard to break from Python.

Its results are compared with those of Python next to the tests of these.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kiel_logging.handler import slices
from kiel_logging.handler.ledger import Counts
from kiel_logging.journal.frames import RECORD, Frame, crc32c, encode
from kiel_logging.partitioners import murmur2_hash
from kiel_logging.proof.stamper import stamp
from kiel_logging.records import Record
from kiel_logging.verify.stream import Stream
from kiel_logging.wire.record_batch import encode_records
from tests.record.fast import IN_C, fast_way, needs_c
from tests.record.test_conversion import conversion
from tests.support.stamper import Stamper
from tests.verify.topic import Message

PURE = """
import sys
sys.modules["kiel_logging._accelerator"] = None
from kiel_logging import native, partitioners
from kiel_logging.handler import ledger, slices
from kiel_logging.handler.spool import records
from kiel_logging.proof import chain, stamper
from kiel_logging.record import fast_way
from kiel_logging.verify import audit
from kiel_logging.wire import record_batch
assert stamper.stamp is stamper.stamp_in_python
assert record_batch.encode_records is record_batch.encode_records_in_python
assert partitioners.murmur2_hash is partitioners._murmur2_remembered
assert ledger.Counts is ledger.CountsInPython
assert slices.group is slices.group_in_python
assert native.RLock is native._RLock
assert fast_way.FastWay is None
assert not records.IN_C
assert audit.take is audit.take_in_python
assert chain.Seal is None
from kiel_logging import KafkaHandler
KafkaHandler(["127.0.0.1:1"], "logs")
"""

ELSEWHERE = """
import sys
sys.path = %r
try:
    import kiel_logging._accelerator
except ImportError:
    print("refused")
from kiel_logging.proof import stamper
print(stamper.stamp is stamper.stamp_in_python, flush=True)
"""
SUB_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), %r)
"""


def test_it_is_there_where_it_can_be() -> None:
    """Where there is a C compiler, the tests compare both."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    module = importlib.import_module("kiel_logging._accelerator")
    assert encode_records is module.encode_records
    assert murmur2_hash is module.murmur2
    assert IN_C


def test_all_works_without_it() -> None:
    """Python code takes its place."""
    subprocess.run([sys.executable, "-c", PURE], check=True)


@needs_c
def test_a_sub_interpreter_works_without_it() -> None:
    """Its types and counts belong to the main interpreter; all others do everything in Python."""
    script = SUB_INTERPRETER % (ELSEWHERE % sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["refused", "True"]


SEED = 7
FRAME = encode(Frame(RECORD, None, None, b"x", (), 1, 20), SEED)
ITEM: Any = ("logs", None, Record(None, None, (), 0), 36, 36)
STAMP: Any = ([ITEM], ("kiel-instance", b"a"), "kiel-sequence", {"logs": 1})


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
        lambda: crc32c("text"),  # type: ignore[arg-type]
        lambda: murmur2_hash("text"),  # type: ignore[arg-type]
        lambda: Counts(),  # type: ignore[call-arg]
        lambda: Counts("1", 2, 3),  # type: ignore[arg-type]
        lambda: slices.group((ITEM,), {}, {}, list),  # type: ignore[arg-type]
        lambda: slices.group([object()], {}, {}, list),  # type: ignore[list-item]
        lambda: slices.group([ITEM], {}, {"logs": ()}, list),  # type: ignore[dict-item]
        lambda: slices.group([("logs", b"k", *ITEM[2:])], {"logs": ((), 7)}, {}, tuple),  # type: ignore[arg-type,dict-item,list-item]
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
        lambda: stamp([ITEM], ("kiel-instance",), *STAMP[2:]),  # type: ignore[arg-type]
        *[
            lambda last=last: stamp([ITEM], *STAMP[1:3], {"logs": last})
            for last in ("x", -1, 2**64)
        ],
    ],
)
def test_it_refuses_what_it_can_not_take(call: Callable[[], Any]) -> None:
    """It raises, as Python code would."""
    with pytest.raises((TypeError, ValueError, OverflowError, ZeroDivisionError, AttributeError)):
        call()


@needs_c
@pytest.mark.parametrize(
    "wrong",
    [
        *[{name: object()} for name in ("kind", "names", "places", "taken", "end", "most")],
        *[{name: object()} for name in ("blocks", "counts", "queue", "tail", "sites")],
        {"names": ("x",) * 65},
        {"places": b""},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_fast_way_is_made_of_what_it_needs(wrong: dict[str, Any]) -> None:
    """It refuses anything else."""
    with pytest.raises((TypeError, AttributeError)):
        fast_way(conversion(), **wrong)


@needs_c
def test_what_is_read_of_frames_is_checked() -> None:
    """Arguments of other types are refused."""
    module = importlib.import_module("kiel_logging._accelerator")
    good = (b"block", 0, 1, 0, "logs")
    assert module.scan_items(*good) == ([], [], 0)
    items, ends, at = module.scan_items(3 * FRAME, len(FRAME), 1, SEED, "logs")
    assert (len(items), ends, at) == (1, [2 * len(FRAME)], 2 * len(FRAME))
    assert module.scan_items(b"block", 9, 1, 0, "logs") == ([], [], 9)
    assert module.scan_items(b"block", -9, 1, 0, "logs") == ([], [], -9)
    for place in range(len(good)):
        with pytest.raises(TypeError):
            module.scan_items(*good[:place], object(), *good[place + 1 :])
    for call in (module.scan_items, module.pack_frame):
        with pytest.raises(TypeError):
            call()
    for waiter, seed in (("x", 0), (-1, 0), (2**64, 0), (0, "x")):
        [item], _, _ = module.scan_items(FRAME, 0, 1, SEED, "logs")
        with pytest.raises((TypeError, OverflowError)):
            module.pack_frame(item, waiter, seed)


@needs_c
def test_messages_and_the_notes_on_streams_are_checked() -> None:
    """Arguments, messages, sources and pages of other types are refused, or left to Python."""
    module = importlib.import_module("kiel_logging._accelerator")
    stamper = Stamper(chain=False)
    one, two = (Message(0, n, 5, *stamper.stamp(b"x")) for n in range(2))
    good = ([two], 0, {0: 9}, {}, {}, {b"a" * 32: object()})
    for place in range(len(good)):
        with pytest.raises((TypeError, AttributeError)):
            module.take(*good[:place], object(), *good[place + 1 :])
    for stream in (object(), SimpleNamespace(pages=1), SimpleNamespace(pages={0: 1}, courses={})):
        with contextlib.suppress(AttributeError):
            assert module.take(*good[:5], {b"a" * 32: stream}) == 0
    for wrong in (object(), None, one.headers()):
        with pytest.raises((TypeError, AttributeError)):
            module.take([wrong], *good[1:])
    for at in (-1, 1, 9):
        assert module.take([two], at, *good[2:]) == at
    stream = Stream("a" * 32, chained=False)
    stream.add(1, 0, 1, 0, 5)
    stream.pages[0].entries = bytearray(8)
    assert module.take([two], 0, {0: 9}, {}, {}, {b"a" * 32: stream}) == 0


FORKED_IN_C = """
import ctypes, os
from collections import deque
from tests.record.fast import fast_way
from tests.record.test_conversion import conversion, record
queue = deque()
emit = fast_way(conversion(), queue).emit
assert emit(record())
child = ctypes.PyDLL(None).fork()  # with the GIL held, as uWSGI does it
if child == 0:
    os._exit(10 * len(queue) + emit(record()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
assert emit(record())
assert len(queue) == 2
"""


@needs_c
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_that_c_code_makes_is_noticed() -> None:
    """It runs no hooks of Python's: the child must not use the buffer of its parent.

    In a process of one thread: the child of another might wait for a thread that it lacks.
    """
    subprocess.run([sys.executable, "-c", FORKED_IN_C], check=True, timeout=60)
