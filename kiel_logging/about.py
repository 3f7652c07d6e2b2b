"""The text of ``kiel-logging --version``: all that a bug report needs."""

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from kiel_logging.constants import VERSION

_EXTRAS_FOR_DEVELOPERS: Final = {"bench", "dev", "docs", "lint", "test"}


def about() -> Iterator[str]:
    """Yield lines: the version, whether compiled code is in use, Python, the dependencies."""
    yield f"kiel-logging {VERSION}"
    yield f"compiled code: {'in use' if _is_compiled() else 'not in use, Python does its work'}"
    system = f"{platform.system()} {platform.machine()}"
    yield f"{platform.python_implementation()} {platform.python_version()} on {system}"
    for name, is_required in sorted(_dependencies().items()):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} is {'MISSING' if is_required else 'not installed (optional)'}"


def _is_compiled() -> bool:
    try:
        import kiel_logging._accelerator  # noqa: F401
    except ImportError:
        return False
    return True


def _dependencies() -> dict[str, bool]:
    """Return the names of all dependencies, and whether the package needs them."""
    found: dict[str, bool] = {}
    try:
        requirements = metadata.requires("kiel_logging") or []
    except metadata.PackageNotFoundError:  # a source tree that was not installed
        requirements = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if name and not (extra and extra[1] in _EXTRAS_FOR_DEVELOPERS):
            found[name[0]] = found.get(name[0], False) or extra is None
    return found
