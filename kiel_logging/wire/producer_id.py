"""The InitProducerId request and response, whatever their version.

Source: KIP-98; https://kafka.apache.org/protocol#The_Messages_InitProducerId
"""

from typing import Final, NamedTuple

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

# Only a transactional producer's are remembered for a time, so this is not used; 0 is refused.
_TRANSACTION_TIMEOUT_MS: Final = 60_000


class ProducerId(NamedTuple):
    """A broker's answer: a producer id and its epoch, or an error."""

    error_code: ErrorCode | int
    producer_id: int
    producer_epoch: int


def init_producer_id_request(version: int) -> Request:
    """Return the request for a new producer id, without a transaction."""
    fields = {"transactional_id": None, "transaction_timeout_ms": _TRANSACTION_TIMEOUT_MS}
    return Request(Api.INIT_PRODUCER_ID, version, fields)


def read_producer_id(response: Message) -> ProducerId:
    """Return the answer in an InitProducerId response.

    Raises:
        ProtocolError: it grants a producer id, or an epoch, that there can't be.
    """
    answer = ProducerId(*(response[name] for name in ProducerId._fields))
    granted = answer.error_code == ErrorCode.none
    if granted and (answer.producer_id < 0 or answer.producer_epoch < 0):
        raise ProtocolError(
            f"a broker granted the producer id {answer.producer_id} with epoch "
            f"{answer.producer_epoch}: neither can be negative"
        )
    return answer
