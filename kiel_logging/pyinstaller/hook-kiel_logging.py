"""PyInstaller's hook: what is imported by a name in a string, which PyInstaller does not see.

The commands are left out, but for what they need being there: they have extras of their own.
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_submodules

COMMANDS = (
    "__main__",
    "arguments",
    "check",
    "cli",
    "confluent",
    "demo",
    "interrupt",
    "output",
    "pyinstaller",
    "pytest_plugin",
    "ship",
    "spool_command",
    "tail",
    "testing",
    "verify",
    "view",
)
OPTIONAL = ("cramjam", "lz4", "snappy", "uhashring", "zstandard")


def _is_needed(name: str) -> bool:
    return not any(
        name == f"kiel_logging.{one}" or name.startswith(f"kiel_logging.{one}.") for one in COMMANDS
    )


hiddenimports = [
    "concurrent.futures.thread",
    "encodings.idna",
    "tornado.platform.asyncio",
    *collect_submodules("kiel_logging", filter=_is_needed),
]
for package in OPTIONAL:
    if find_spec(package.partition(".")[0]) is not None:
        hiddenimports += collect_submodules(package)
