"""The replies and faults that a test sets for a fake broker."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kiel_logging.testing.frames import Api, ReceivedRequest, api_key_of
from kiel_logging.testing.replies import HANG_UP, STALL
from kiel_logging.testing.state import Node, ProduceFault


class DefaultReply:
    """Calls the healthy broker's answer at most once, so that its effects happen once."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: list[Any] = []

    def __call__(self) -> Any:
        """The fields of the response; the records of a Produce request are stored now."""
        if not self._built:
            self._built.append(self._build())
        return self._built[0]


Reply = Any
"""What `on` takes: an answer, or a callable (fields of the request, DefaultReply) -> answer.

An answer is a dict of the response's fields, an `Answer`, bytes (written as they are), None (no
response), HANG_UP, STALL, or an awaitable of one of these.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response whose bytes go out damaged."""

    response: Any
    correlation_shift: int = 0
    cut_at: int | None = None
    """Hang up behind so many bytes of the frame, its length included."""

    def encode(self, request: ReceivedRequest) -> bytes:
        """The bytes to send; a sender of cut ones hangs up."""
        if self.response in (None, HANG_UP):
            return b""
        frame = request.encode(self.response, self.correlation_shift)
        return frame if self.cut_at is None else frame[: self.cut_at]


def stall_after_effect(_request: Any, default: DefaultReply) -> Any:
    """The request takes effect, but its response is held back."""
    default()
    return STALL


class Faults:
    """The answers that a test wants of a broker.

    Those for one request come first, in order, then the standing ones; api None means any API.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self._once: list[tuple[int | None, Reply]] = []
        self._standing: dict[int | None, Reply] = {}

    def on(self, api: Api | None, reply: Reply) -> None:
        """Replies so to every request of that API; see Reply."""
        self._standing[_key(api)] = reply

    def on_next(self, api: Api | None, reply: Reply) -> None:
        """Replies so to one request; several queue up."""
        self._once.append((_key(api), reply))

    def _take(self, api_key: int) -> Reply | None:
        """Return the reply for a request that has just come in; None for the default."""
        for position, (key, reply) in enumerate(self._once):
            if key in (None, api_key):
                del self._once[position]
                return reply
        return self._standing.get(api_key, self._standing.get(None))

    def _end_stalls(self) -> None:
        for key, reply in list(self._standing.items()):
            if reply is STALL or reply is stall_after_effect:
                del self._standing[key]

    def _clear(self) -> None:
        self._once.clear()
        self._standing.clear()
        self.node.produce_faults.clear()

    def set_versions(self, api: Api, lowest: int, highest: int) -> None:
        """Advertises and serves these versions; hangs up on requests in others."""
        self.node.versions[api_key_of(api)] = (lowest, highest)

    def produce_error(
        self,
        error_code: int,
        times: float = 1,
        only: str | tuple[str, int] | None = None,
        *,
        stored: bool = False,
    ) -> None:
        """Fails the next Produce requests (that touch `only`, a topic or a partition); `stored`
        appends all the same."""
        fault = ProduceFault(error_code, times, only, stored)
        self.node.produce_faults.append(fault)

    def hang_up_mid_response(self, api: Api | None, after_bytes: int = 0) -> None:
        """The next request takes effect, but only so many bytes of its response arrive."""
        self.on_next(api, lambda _, default: Answer(response=default(), cut_at=after_bytes))

    def stall(self, api: Api | None = None, *, after_effect: bool = False) -> None:
        """Answers nothing until resume(); `after_effect` stores the records before that."""
        self.on(api, stall_after_effect if after_effect else STALL)

    def send_garbage(self, data: bytes, api: Api | None = None) -> None:
        """Answers the next request with exactly these bytes."""
        self.on_next(api, data)

    def announce_frame(self, size: int, api: Api | None = None) -> None:
        """Answers the next request with the length of a frame, and with nothing behind it."""
        self.on_next(api, struct.pack(">i", size))

    def wrong_correlation_id(self, api: Api | None = None, shift: int = 1) -> None:
        """Answers the next request as if it were another one."""
        self.on_next(api, lambda _, default: Answer(response=default(), correlation_shift=shift))


def _key(api: Api | None) -> int | None:
    return None if api is None else api_key_of(api)
