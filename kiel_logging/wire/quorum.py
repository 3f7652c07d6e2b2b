"""The DescribeQuorum request and response, for the clock of the cluster's controller.

The controller notes when each voter had the whole log, by its own clock; for itself that is now.

Source: KIP-595, KIP-836.
"""

from typing import Final

from kiel_logging.wire.codec import Message
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

_LOG: Final = "__cluster_metadata"


def quorum_request(version: int) -> Request:
    """Return the request."""
    topic = {"topic_name": _LOG, "partitions": ({"partition_index": 0},)}
    return Request(Api.DESCRIBE_QUORUM, version, {"topics": (topic,)})


def read_controller_time(response: Message) -> int | None:
    """Return the milliseconds since 1970 by the controller's clock; None where it does not say."""
    for topic in response["topics"]:
        for partition in topic["partitions"]:
            for voter in partition["current_voters"]:
                time = voter["last_caught_up_timestamp"]
                if voter["replica_id"] == partition["leader_id"] and time > 0:
                    return int(time)
    return None
