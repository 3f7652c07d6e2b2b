"""Where PyInstaller finds how to freeze this package: the entry point ``pyinstaller40``."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Return the directories of hooks."""
    return [str(Path(__file__).parent)]
