"""Which version of a request is spoken with which broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import UnsupportedBroker
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED, VersionRange, negotiate
from tests.support.examples import examples

# The versions that brokers of these releases advertise, and the one that is spoken with them.
RELEASES: dict[str, dict[Api, tuple[int, int, int]]] = {
    "Kafka 2.1": {Api.PRODUCE: (0, 7, 7), Api.METADATA: (0, 7, 7)},
    "Kafka 2.8": {Api.PRODUCE: (0, 9, 9), Api.METADATA: (0, 11, 11)},
    "Kafka 3.9": {Api.PRODUCE: (0, 11, 11), Api.METADATA: (0, 12, 12)},
    # Produce v0 to v2 are advertised for old librdkafkas only, and rejected (KAFKA-18659).
    "Kafka 4.0": {Api.PRODUCE: (0, 12, 12), Api.METADATA: (0, 13, 13)},
    "Kafka 4.1": {Api.PRODUCE: (0, 13, 13), Api.METADATA: (0, 13, 13)},
    "a later one": {Api.PRODUCE: (3, 99, 13), Api.METADATA: (9, 99, 13)},
    "one that knows but one": {Api.PRODUCE: (9, 9, 9), Api.METADATA: (10, 10, 10)},
}


@pytest.mark.parametrize("api", [Api.PRODUCE, Api.METADATA])
@pytest.mark.parametrize("release", RELEASES)
def test_the_highest_version_that_both_know(release: str, api: Api) -> None:
    """Never the lowest."""
    lowest, highest, spoken = RELEASES[release][api]
    assert negotiate(api, {api: VersionRange(lowest, highest)}) == spoken


@pytest.mark.parametrize(
    ("api", "lowest", "highest"), [(Api.PRODUCE, 0, 6), (Api.PRODUCE, 0, 2), (Api.METADATA, 0, 5)]
)
def test_a_broker_that_is_too_old(api: Api, lowest: int, highest: int) -> None:
    """The error has both ranges and says who has to upgrade."""
    with pytest.raises(UnsupportedBroker) as refused:
        negotiate(api, {api: VersionRange(lowest, highest)})
    ours = SUPPORTED[api]
    assert str(refused.value) == (
        f"the broker speaks {api.name} v{lowest} to v{highest}, this client v{ours.lowest} to "
        f"v{ours.highest}: the broker is older than Kafka 2.1, upgrade it"
    )


def test_a_broker_that_is_too_new_or_lacks_the_request() -> None:
    """If it is too new, it is this client that needs an upgrade."""
    with pytest.raises(UnsupportedBroker, match="newer than this client, upgrade kiel_logging"):
        negotiate(Api.METADATA, {Api.METADATA: VersionRange(99, 100)})
    with pytest.raises(UnsupportedBroker, match="does not know the request METADATA at all"):
        negotiate(Api.METADATA, {})


@examples(200)
@given(st.sampled_from(list(SUPPORTED)), st.integers(0, 30), st.integers(0, 30))
def test_negotiation_is_the_top_of_the_overlap(api: Api, lowest: int, width: int) -> None:
    """Or an error when there is none."""
    ours, theirs = SUPPORTED[api], VersionRange(lowest, lowest + width)
    both = set(range(ours.lowest, ours.highest + 1)) & set(range(lowest, lowest + width + 1))
    if both:
        assert negotiate(api, {api: theirs}) == max(both)
    else:
        with pytest.raises(UnsupportedBroker):
            negotiate(api, {api: theirs})
