"""PyInstaller's hook: it names all that is imported by a name in a string."""

from __future__ import annotations

import pkgutil
import runpy
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kiel_logging
from kiel_logging.handler import loading
from kiel_logging.pyinstaller import hook_directories
from kiel_logging.wire import compression
from tests.test_layering import COMMANDS


def collect_submodules(package: str, filter: Callable[[str], bool] = bool) -> list[str]:  # noqa: A002
    """As PyInstaller's: the package, and all modules in it."""
    root = import_module(package)
    found = pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.", lambda name: None)
    return [name for name in (package, *(each.name for each in found)) if filter(name)]


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules that the hook names, where PyInstaller looks for it."""
    hooks: Any = ModuleType("PyInstaller.utils.hooks")
    hooks.collect_submodules = collect_submodules
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    (directory,) = hook_directories()
    done = runpy.run_path(str(Path(directory) / "hook-kiel_logging.py"))
    return set(done["hiddenimports"])


def test_public_names_and_what_the_loop_thread_imports(hidden: set[str]) -> None:
    """All of them are found in a program that was frozen."""
    assert set(kiel_logging._HOMES.values()) <= hidden
    assert set(loading._MODULES) <= hidden


def test_the_wheel_tells_pyinstaller_of_it() -> None:
    """By an entry point, which is read where the package is built."""
    setup = (Path(kiel_logging.__file__).parents[1] / "setup.py").read_text()
    where = f"{hook_directories.__module__}:{hook_directories.__name__}"
    assert f'"pyinstaller40": ["hook-dirs = {where}"]' in setup


def test_codecs(hidden: set[str]) -> None:
    """Those that are installed."""
    names = {"lz4.frame", "zstandard", "snappy"}
    source = Path(compression.__file__).read_text()
    assert all(name in source for name in names)
    assert names <= hidden


def test_commands_and_tools_for_tests_are_left_out(hidden: set[str]) -> None:
    """They need more than a program that only logs should have in it."""
    commands = tuple(f"kiel_logging.{name}" for name in (*COMMANDS, "testing", "pytest_plugin"))
    assert not {name for name in hidden if name.startswith((*commands, "rich"))}
