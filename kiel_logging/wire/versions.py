"""Which version of each request is spoken: the highest that both sides know.

Never the lowest: Kafka 4 advertises Produce v0 to v2 for old librdkafkas and then rejects them
(KAFKA-18659). The lowest versions here are those of Kafka 2.1, the oldest release in scope.

Source: KIP-35, KIP-511 (ApiVersions v3).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from kiel_logging.errors import ProtocolError, UnsupportedBroker
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import error_name
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api


class VersionRange(NamedTuple):
    """The versions of one request that one side knows, both ends included."""

    lowest: int
    highest: int


Versions: TypeAlias = Mapping[int, VersionRange]
"""API key -> the versions that a broker knows."""

SUPPORTED: Final[Mapping[Api, VersionRange]] = {
    Api.PRODUCE: VersionRange(7, 13),
    Api.FETCH: VersionRange(10, 11),
    Api.METADATA: VersionRange(7, 13),
    Api.API_VERSIONS: VersionRange(0, 3),
    Api.INIT_PRODUCER_ID: VersionRange(0, 5),
    Api.DESCRIBE_CONFIGS: VersionRange(1, 4),
    Api.SASL_HANDSHAKE: VersionRange(1, 1),
    Api.SASL_AUTHENTICATE: VersionRange(0, 2),
    Api.DESCRIBE_QUORUM: VersionRange(1, 1),
}

REQUIRED: Final = (Api.PRODUCE, Api.METADATA)
"""The requests that a broker must know to be of use at all."""

# Brokers refuse names with anything but letters, digits, '-' and '.' (INVALID_REQUEST).
_CLIENT_SOFTWARE_NAME: Final = "kiel-logging"


def negotiate(api: Api, broker: Versions) -> int:
    """Return the highest version of ``api`` that this client and the broker know.

    Raises:
        UnsupportedBroker: they have none in common.
    """
    ours = SUPPORTED[api]
    theirs = broker.get(api)
    if theirs is None:
        raise UnsupportedBroker(f"the broker does not know the request {api.name} at all")
    highest = min(ours.highest, theirs.highest)
    if highest < max(ours.lowest, theirs.lowest):
        raise UnsupportedBroker(
            f"the broker speaks {api.name} v{theirs.lowest} to v{theirs.highest}, this client "
            f"v{ours.lowest} to v{ours.highest}: "
            + (
                "the broker is older than Kafka 2.1, upgrade it"
                if theirs.highest < ours.lowest
                else "the broker is newer than this client, upgrade kiel_logging"
            )
        )
    return highest


def api_versions_request(version: int, software_version: str) -> Request:
    """Return the request that opens every connection."""
    fields = {
        "client_software_name": _CLIENT_SOFTWARE_NAME,
        "client_software_version": software_version,
    }
    return Request(Api.API_VERSIONS, version, fields)


def read_api_versions(response: Message) -> Versions:
    """Return what an ApiVersions response says the broker knows of what this client speaks.

    Raises:
        ProtocolError: there are none in it.
    """
    versions = {
        key["api_key"]: VersionRange(key["min_version"], key["max_version"])
        for key in response["api_keys"]
        if key["api_key"] in SUPPORTED
    }
    if not versions:
        raise ProtocolError(
            "the broker answered ApiVersions with no versions and "
            f"{error_name(response['error_code'])}"
        )
    return versions
