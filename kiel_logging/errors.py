"""Every error this package raises, in one tree.

A message says what is wrong, whose fault it is and what to do about it. No module but
``network/connection.py`` translates foreign errors of the network, none but
``journal/segments.py`` those of the disk.
"""

from collections.abc import Sequence

from kiel_logging.printable import printable
from kiel_logging.records import Undelivered


class KielError(Exception):
    """The root: catches everything below.

    The text of an error can be printed as it is, though brokers may have written parts of it: it is
    one line of bounded length, without control characters (``printable``).
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigurationError(KielError, ValueError):
    """An option has a value it can't have; names the option, the value and what is allowed."""


class MessageError(KielError):
    """One message can't be sent as it is. Others are not affected."""


class KeyTypeError(MessageError, TypeError):
    """The key is none of None, bytes, str and int."""


class ValueTypeError(MessageError, TypeError):
    """The serializer did not return str or bytes."""


class HeaderTypeError(MessageError, TypeError):
    """A record header is not a str key with a value of bytes, str or None."""


class TimestampError(MessageError, ValueError):
    """A timestamp is not a whole number of milliseconds since 1970, 0 or more."""


class PartitionerError(MessageError, ValueError):
    """The partitioner did not return one of the partitions it was given."""


class InvalidTopic(MessageError, ValueError):
    """Not a name that Kafka allows for a topic."""


class RecordTooLarge(MessageError, ValueError):
    """A single record is larger than ``max_request_size``, or than its topic takes."""


class ProducerStateError(KielError, RuntimeError):
    """The call came at the wrong point of the producer's life."""


class ProducerClosed(ProducerStateError):
    """The producer is closed, or was closed while the message was on its way."""


class BufferFull(KielError):
    """``buffer_memory`` is used up by messages that the brokers have not taken yet."""


class SpoolError(KielError):
    """The spool can't be written or read: its directory, its files or the disk beneath."""


class SpoolFull(SpoolError):
    """``spool_max_bytes`` is used up by records that the brokers have not taken yet."""


class NoRoom(SpoolFull):
    """The file system of ``spool_dir`` is full, or this user's quota of it is used up."""


class SpoolDamaged(SpoolError):
    """A file in ``spool_dir`` holds something else than what was written to it."""


class BrokerError(KielError):
    """A broker, or the way to it. The producer retries these by itself."""


class BrokerUnreachable(BrokerError):
    """No connection could be made to the broker."""


class ConnectionLost(BrokerError):
    """The connection was cut; what was unanswered on it may or may not have been done."""


class RequestTimedOut(BrokerError):
    """The broker did not answer within ``request_timeout_ms``."""


class ProtocolError(BrokerError):
    """The other side does not speak Kafka's protocol as we know it."""


class UnsupportedBroker(BrokerError):
    """The broker and this client have no version of a needed request in common."""


class NoBrokersAvailable(BrokerError):
    """None of the bootstrap brokers answered with metadata."""


class NoLeader(BrokerError):
    """No broker leads the partition now, as far as is known; messages wait for the next leader."""


class Throttled(BrokerError):
    """The broker makes this client wait, because the client's quota is used up."""


class SecurityError(BrokerError):
    """TLS or SASL failed. It is retried, but seldom: it takes a person to put it right."""


class AuthenticationFailed(SecurityError):
    """The broker does not accept the credentials, or could not prove that it knows them."""


class UnsupportedMechanism(SecurityError):
    """The broker's listener does not offer ``sasl_mechanism``."""


class ListenerMismatch(SecurityError):
    """One side speaks TLS and the other does not."""


class ClientCertificateRefused(SecurityError):
    """The broker does not accept this client's certificate, or wants one."""


class CertificateRejected(SecurityError):
    """This client does not accept the broker's certificate."""


class CertificateExpired(CertificateRejected):
    """The broker's certificate is out of date."""


class UnknownAuthority(CertificateRejected):
    """The broker's certificate is not signed by an authority that is trusted."""


class WrongHostName(CertificateRejected):
    """The broker's certificate is for another host."""


class DeliveryError(KielError):
    """A message that was accepted could not be delivered."""


class NotAcknowledged(DeliveryError):
    """A block of ``handler.receipts()`` was left, and not all that it logged is acknowledged.

    Attributes:
        undelivered: which were not, each with its text, level and reason.
    """

    def __init__(self, message: str, undelivered: Sequence[Undelivered]) -> None:
        super().__init__(message)
        self.undelivered = undelivered


class DeliveryTimeout(DeliveryError):
    """The message was not acknowledged within ``delivery_timeout_ms``."""


class UnknownTopic(DeliveryError):
    """The topic does not exist and the brokers did not create it."""


class ProducerFenced(DeliveryError):
    """Another producer wrote under our producer id; whether the message is stored is unknown."""


class BrokerRejected(DeliveryError):
    """The broker refused the message for good.

    Attributes:
        error_code: Kafka's number of the error (``kiel_logging.wire.error_codes.ErrorCode``).
        error_name: Kafka's name of it, in capitals; empty if it is not known here.
    """

    def __init__(self, message: str, error_code: int, error_name: str = "") -> None:
        super().__init__(message)
        self.error_code = error_code
        self.error_name = error_name


def kind_of(error: Exception) -> str:
    """Return Kafka's name of an error with which a broker answered, else the name of its class."""
    name = error.error_name if isinstance(error, BrokerRejected) else ""
    return name or type(error).__name__


class TopicAuthorizationFailed(BrokerRejected):
    """The user that this client is may not write to the topic, or not create it."""
