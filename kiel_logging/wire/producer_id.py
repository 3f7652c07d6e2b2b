"""The InitProducerId request and response, whatever their version.

Source: KIP-98; https://kafka.apache.org/protocol#The_Messages_InitProducerId
"""

import datetime
from typing import Any, Final

from kio.schema.errors import ErrorCode

from kiel_logging.errors import ProtocolError
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


def check_producer_id(response: Any) -> Any:
    """Return an InitProducerId response that makes sense.

    Raises:
        ProtocolError: it grants a producer id, or an epoch, that there can't be.
    """
    granted = response.error_code == ErrorCode.none
    if granted and (response.producer_id < 0 or response.producer_epoch < 0):
        raise ProtocolError(
            f"a broker granted the producer id {response.producer_id} with epoch "
            f"{response.producer_epoch}: neither can be negative"
        )
    return response
