"""Timestamps of an authority (RFC 3161): a signed note existed at a time that others attest. Pure.

The authority is asked for a timestamp of SHA-256 of the note, the signature included. Its answer is
kept as it came, so ``openssl ts -verify -in ANSWER -data NOTE -CAfile ROOT`` checks it as well.

Needs the package ``rfc3161-client``.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rfc3161_client import Verifier

MOST_BYTES: Final = 65_536
"""Of an answer that is read."""

CONTENT_TYPE: Final = "application/timestamp-query"
PACKAGE: Final = "rfc3161_client"

_GRANTED: Final = 0


class Question:
    """The question for a timestamp of one note.

    Attributes:
        content: its bytes, the body of a request.
    """

    def __init__(self, note: str) -> None:
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        builder = TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256)
        self._request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
        self.content = self._request.as_bytes()

    def check(self, answer: bytes) -> None:
        """Check that an answer belongs to this question. Who signed it is for verifiers to say.

        Raises:
            ValueError: it does not, or grants no timestamp.
        """
        from rfc3161_client import decode_timestamp_response

        found = decode_timestamp_response(answer)
        if found.status != _GRANTED:
            raise ValueError(f"the timestamp authority refuses: {' '.join(found.status_string)}")
        asked, stamped = self._request.message_imprint.message, found.tst_info.message_imprint
        if found.tst_info.nonce != self._request.nonce or stamped.message != asked:
            raise ValueError("the timestamp authority has answered another question")


class Authority:
    """The authorities whose timestamps count."""

    def __init__(self, verifier: "Verifier") -> None:
        self._verifier = verifier

    @classmethod
    def of(cls, pems: Iterable[bytes]) -> Self:
        """Return the authorities below the root certificates in these files, which may have
        intermediate ones as well.

        Raises:
            ValueError: there is no certificate, or no root among them.
        """
        from cryptography.x509 import load_pem_x509_certificates
        from rfc3161_client import VerifierBuilder

        known = [one for pem in pems for one in load_pem_x509_certificates(pem)]
        roots = [one for one in known if one.issuer == one.subject]
        others = [one for one in known if one.issuer != one.subject]
        return cls(VerifierBuilder(roots=roots, intermediates=others).build())

    def time_of(self, answer: bytes, note: str) -> int:
        """Return when a note had existed, in milliseconds since the epoch.

        Raises:
            ValueError: the answer is no timestamp of the note by these authorities.
        """
        from rfc3161_client import decode_timestamp_response

        if len(answer) > MOST_BYTES:
            raise ValueError("longer than any timestamp")
        try:
            found = decode_timestamp_response(answer)
            self._verifier.verify_message(found, note.encode())
            return round(found.tst_info.gen_time.timestamp() * 1000)
        except Exception as error:  # of many kinds: anybody may have made the answer
            raise ValueError(f"no timestamp of this authority: {error}") from error
