"""Checks whether the packages that a command needs are installed, before it imports them."""

from collections.abc import Iterable
from importlib.util import find_spec


def advice(command: str, extra: str, needs: Iterable[str]) -> str | None:
    """Return advice if one of the modules in ``needs`` is not installed, else None."""
    missing = [name for name in needs if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"kiel-logging {command}: {' and '.join(missing)} not installed; "
        f"pip install 'kiel_logging[{extra}]'\n"
    )
