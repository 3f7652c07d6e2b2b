"""Whether what a command needs is installed: asked before anything of it is imported."""

from collections.abc import Iterable
from importlib.util import find_spec


def advice(command: str, extra: str, needs: Iterable[str]) -> str | None:
    """Return what to do where one of the modules in ``needs`` is not there, or None."""
    missing = [name for name in needs if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"kiel-logging {command}: {' and '.join(missing)} not installed; "
        f"pip install 'kiel_logging[{extra}]'\n"
    )
