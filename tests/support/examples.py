"""How many examples of a law are tried: few while one works, all of them in `make test`."""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import settings

THOROUGH: Final = os.environ.get("KIEL_THOROUGH") == "1"

_SHARE: Final = 10
_LEAST: Final = 3

# Without a deadline: how long an example takes says more of the machine than of us.
settings.register_profile("ours", deadline=None, max_examples=100 if THOROUGH else 10)


def examples(most: int, **more: Any) -> settings:
    """Return hypothesis's settings for a test that tries `most` examples where there is time."""
    count = most if THOROUGH else max(min(most, _LEAST), most // _SHARE)
    return settings(max_examples=count, deadline=None, **more)
