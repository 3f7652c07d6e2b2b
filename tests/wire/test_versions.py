"""Which version of a request is spoken with which broker."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_response_schema

from kiel_logging.errors import ProtocolError, UnsupportedBroker
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response, encode_request
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import (
    SUPPORTED,
    VersionRange,
    api_versions_request,
    negotiate,
    read_api_versions,
)
from tests.support.examples import examples
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import read_by_kio, to_frame

# What brokers of these releases advertise, and what is spoken with them.
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


@pytest.mark.parametrize("api", [Api.PRODUCE, Api.METADATA])
def test_a_broker_that_is_too_new(api: Api) -> None:
    """Then it is this client that needs an upgrade."""
    first = SUPPORTED[api].highest + 1
    with pytest.raises(UnsupportedBroker, match="newer than this client, upgrade kiel_logging"):
        negotiate(api, {api: VersionRange(first, first + 5)})


@pytest.mark.parametrize("api", SUPPORTED)
def test_a_request_that_the_broker_does_not_know(api: Api) -> None:
    """The error names the request."""
    with pytest.raises(UnsupportedBroker, match=f"does not know the request {api.name} at all"):
        negotiate(api, {})


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


@pytest.mark.parametrize("api", Api)
def test_every_request_has_its_versions(api: Api) -> None:
    """And kio has a schema for each of them, both ways."""
    versions = SUPPORTED[api]
    for version in range(versions.lowest, versions.highest + 1):
        assert load_response_schema(api, version).__api_key__ == api


# -- ApiVersions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_requests_are_empty(version: int) -> None:
    """Only from version 3 on does a client name itself."""
    assert len(encode_request(api_versions_request(version, "1.2.3"), 1, "")) == 4 + 10


def test_the_client_names_itself() -> None:
    """Brokers show it in their metrics (KIP-511); they take letters, digits, '-' and '.'."""
    request = read_by_kio(api_versions_request(3, "1.2.3"))
    assert (request.client_software_name, request.client_software_version) == (
        "kiel-logging",
        "1.2.3",
    )


def api_versions(version: int, **ranges: tuple[int, int]) -> Any:
    """A broker's answer, read by us."""
    module = response_module(Api.API_VERSIONS, version)
    keys = tuple(
        module.ApiVersion(api_key=Api[name], min_version=lowest, max_version=highest)
        for name, (lowest, highest) in ranges.items()
    )
    written = make(
        module.ApiVersionsResponse,
        error_code=ErrorCode.none,
        api_keys=keys,
        throttle_time=datetime.timedelta(0),
    )
    return decode_response(to_frame(written), Api.API_VERSIONS, version)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_what_a_broker_says_it_knows(version: int) -> None:
    """Every version of the response says the same."""
    response = api_versions(version, PRODUCE=(3, 12), METADATA=(0, 13))
    assert read_api_versions(response) == {0: (3, 12), 3: (0, 13)}


def test_requests_that_are_never_sent_are_left_out() -> None:
    """A broker knows ninety; one that lies, thousands."""
    module = response_module(Api.API_VERSIONS, 0)
    keys = tuple(
        module.ApiVersion(api_key=key, min_version=0, max_version=9) for key in range(1000)
    )
    written = module.ApiVersionsResponse(error_code=ErrorCode.none, api_keys=keys)
    response = decode_response(to_frame(written), Api.API_VERSIONS, 0)
    assert set(read_api_versions(response)) == set(SUPPORTED)


def test_an_answer_without_versions_is_a_protocol_error() -> None:
    """Nothing can be said to a broker that knows nothing."""
    with pytest.raises(ProtocolError, match="no versions"):
        read_api_versions(api_versions(0))
