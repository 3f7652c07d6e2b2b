"""Logging itself: what a program pays before any handler does anything."""

import logging

from .peer import Destination


class Null:
    """logging.NullHandler."""

    ships = False

    def __init__(self, destination: Destination) -> None:  # noqa: ARG002 # as all peers
        self.handler = logging.NullHandler()

    def drain(self, seconds: float) -> int:  # noqa: ARG002 # as all peers
        """Nothing is ever under way."""
        return 0
