"""How many examples of a law are tried: a tenth in `make test`, all of them in `make test-all`.

So it is with the combinations of a table's values.

They are chosen at random. On CI they are the same each time, so that a result depends on the change
alone and can be had again elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import settings

THOROUGH: Final = os.environ.get("KIEL_THOROUGH") == "1"

_REPEATABLE: Final = os.environ.get("CI") == "true"
_SHARE: Final = 10
_LEAST: Final = 3

# Without a deadline: how long an example takes says more of the machine than of us.
settings.register_profile(
    "ours", deadline=None, derandomize=_REPEATABLE, max_examples=100 if THOROUGH else 10
)


def examples(most: int, **more: Any) -> settings:
    """Return hypothesis's settings for a test that tries `most` examples where there is time."""
    count = most if THOROUGH else max(min(most, _LEAST), most // _SHARE)
    return settings(max_examples=count, deadline=None, derandomize=_REPEATABLE, **more)


def combinations(
    *, indirect: tuple[str, ...] = (), **axes: Mapping[str, Any]
) -> pytest.MarkDecorator:
    """Parametrize a test by all combinations of some values, each of which has an id.

    In `make test` each value comes, and of three axes each two values meet; the others are slow.
    """
    sizes = sorted(map(len, axes.values()))
    parameters = []
    for chosen in product(*(enumerate(axis) for axis in axes.values())):
        ids = [id_ for _, id_ in chosen]
        parameters.append(
            pytest.param(
                *(axis[id_] for axis, id_ in zip(axes.values(), ids, strict=True)),
                id="-".join(ids),
                marks=()
                if sum(place for place, _ in chosen) % sizes[-2] == 0
                else pytest.mark.slow,
            )
        )
    return pytest.mark.parametrize(tuple(axes), parameters, indirect=indirect)
