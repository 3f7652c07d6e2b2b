"""The text of an exception is that of the module ``traceback``, the first time and every other."""

import functools
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.exceptions import ExcInfo, describe_exception
from tests.support.examples import examples


def caught(raiser: Callable[[], object]) -> ExcInfo:
    """Return the exc_info of what is raised."""
    try:
        raiser()
    except BaseException:
        kind, error, trace = sys.exc_info()
        assert kind is not None
        return kind, error, trace
    raise AssertionError("nothing was raised")


def expected(info: ExcInfo) -> str:
    return "".join(traceback.format_exception(*info))


def made(info: ExcInfo) -> str:
    """Return what is made of an exception, which does not change the second time."""
    first = describe_exception(*info)["traceback"]
    assert describe_exception(*info)["traceback"] == first
    return first


# -- exceptions as programs raise them -------------------------------------------------------------


def missing_name() -> object:
    lenght = {}
    return length[lenght]  # type: ignore[name-defined] # noqa: F821 - Python suggests one


def missing_attribute() -> object:
    return [].appendd(1)  # type: ignore[attr-defined]


def missing_import() -> None:
    from collections import OrderedDic  # type: ignore[attr-defined] # noqa: F401


def syntax() -> None:
    compile("a = (1,\nb = 2", "<shop>", "exec")


def exhausted(depth: int = 0) -> int:
    return exhausted(depth + 1) if depth < 200 else depth // 0


def noted() -> None:
    error = ValueError("two\nlines")
    error.add_note("a note")
    raise error


def caused() -> None:
    try:
        missing_name()
    except NameError as error:
        raise KeyError("wide 字 text") from error


def in_between() -> None:
    try:
        caused()
    except KeyError:
        _ = [1][  # over several lines
            2
        ]


def unrelated_cause() -> None:
    try:
        caused()
    except KeyError:
        raise ValueError("why") from OSError("elsewhere")


def suppressed() -> None:
    try:
        caused()
    except KeyError:
        raise ValueError("why") from None


def circle() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    raise one


def group() -> None:
    raise ExceptionGroup("several", [caught(caused)[1], ValueError("b")])  # type: ignore[list-item]


def caused_by_group() -> None:
    try:
        group()
    except ExceptionGroup as error:
        raise ValueError("why") from error


def leaves() -> None:
    sys.exit(3)


RAISERS = [
    missing_name,
    missing_attribute,
    missing_import,
    syntax,
    exhausted,
    noted,
    caused,
    in_between,
    unrelated_cause,
    suppressed,
    circle,
    group,
    caused_by_group,
    leaves,
]


@pytest.mark.parametrize("raiser", RAISERS, ids=lambda raiser: raiser.__name__)
def test_an_exception_looks_as_python_shows_it(raiser: Callable[[], object]) -> None:
    """Suggestions, carets, notes, repeated lines, causes, contexts and groups among it."""
    info = caught(raiser)
    assert made(info) == expected(info)


@given(st.lists(st.sampled_from(RAISERS), max_size=4), st.lists(st.booleans(), max_size=4))
@examples(100)
def test_exceptions_in_a_chain(raisers: list[Callable[[], object]], causes: list[bool]) -> None:
    """Any exception may be the cause or the context of any other."""
    info = caught(missing_name)
    error: Any = info[1]
    for raiser, is_cause in zip(raisers, causes, strict=False):
        error.__suppress_context__ = False
        before = caught(raiser)[1]
        if is_cause:
            error.__cause__ = before
        else:
            error.__context__ = before
        error = before
    assert made(info) == expected(info)


@pytest.mark.parametrize(
    "info", [(ValueError, ValueError("no trace"), None), (ValueError, None, None)]
)
def test_an_exception_that_was_never_raised(info: ExcInfo) -> None:
    """It has no stack."""
    assert made(info) == expected(info)


# -- places in the code ----------------------------------------------------------------------------


def test_places_in_one_function_are_told_apart() -> None:
    """So are two instructions on one line."""

    def both(first: bool) -> float:
        return 1 / 0 if first else [][0]  # fmt: skip

    for first in (True, False, True):
        info = caught(functools.partial(both, first))
        assert made(info) == expected(info)


def test_equal_code_of_different_files() -> None:
    """Each stack has its file."""
    for name in ("/srv/one.py", "/srv/other.py"):
        code = compile("1 / 0", name, "exec")
        info = caught(functools.partial(exec, code))
        assert f'File "{name}"' in made(info)
        assert made(info) == expected(info)


def test_a_line_number_that_a_program_sets() -> None:
    """Template engines make tracebacks that show other lines."""
    _, error, trace = caught(missing_attribute)
    assert trace is not None
    for line in (1, 2):
        moved = types.TracebackType(None, trace.tb_frame, -1, line)
        assert made((AttributeError, error, moved)) == expected((AttributeError, error, moved))


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what sets how many frames of a traceback are shown."""
    return lambda frames: monkeypatch.setattr(sys, "tracebacklimit", frames, raising=False)


def test_the_limit_of_a_program(limit: Callable[[int], None]) -> None:
    """``sys.tracebacklimit`` holds from the next record on."""
    info = caught(exhausted)
    for frames in (1, 0, 3):
        assert made(info) == expected(info)
        limit(frames)
    assert made(info) == expected(info)


def test_the_lines_are_those_that_the_file_had(tmp_path: Path) -> None:
    """A file that is edited while the program runs shows the line that runs, as it was."""
    path = tmp_path / "shop.py"
    path.write_text("value = 1 / 0\n")
    code = compile(path.read_text(), str(path), "exec")
    info = caught(functools.partial(exec, code))
    assert "value = 1 / 0" in made(info)
    path.write_text("# another line\n")
    linecache.clearcache()
    assert "value = 1 / 0" in made(info)
