"""The InitProducerId request and response, whatever their version.

Source: KIP-98; https://kafka.apache.org/protocol#The_Messages_InitProducerId
"""

import datetime
from typing import Any, Final

from kiel_logging.wire.messages import Api, request_module

# Only a transactional producer's are remembered for a time, so this is not used; 0 is refused.
_TRANSACTION_TIMEOUT: Final = datetime.timedelta(minutes=1)
_KNOWN_FROM_BEFORE: Final = ("producer_id", "producer_epoch")
_NONE_YET: Final = -1


def init_producer_id_request(version: int) -> Any:
    """Return the request for a new producer id, without a transaction."""
    request = request_module(Api.INIT_PRODUCER_ID, version).InitProducerIdRequest
    fields = request.__dataclass_fields__
    return request(
        transactional_id=None,
        transaction_timeout=_TRANSACTION_TIMEOUT,
        **{name: _NONE_YET for name in _KNOWN_FROM_BEFORE if name in fields},
    )
