"""Up to which place of a spool file all is fed, and what is missing in front of it. Pure."""


class Places:
    """Places are given one after the other, from 1; they are fed in nearly that order.

    Attributes:
        fed: all up to it was fed, or stays empty, or was given up.
    """

    def __init__(self) -> None:
        self.fed = 0
        self._empty: set[int] = set()
        self._skipped: list[range] = []

    def __repr__(self) -> str:
        return f"<Places fed={self.fed} empty={len(self._empty)} skipped={self._skipped}>"

    def stays_empty(self, place: int) -> None:
        """Nothing comes at ``place``: it is waited for no more."""
        self._empty.add(place)

    @property
    def next(self) -> int:
        """The place at which something is to come next."""
        while self.fed + 1 in self._empty:
            self.fed += 1
            self._empty.discard(self.fed)
        return self.fed + 1

    def feed(self, place: int) -> bool:
        """What is at ``place`` is fed.

        Returns:
            Whether it had been given up.
        """
        if place > self.fed:
            self.fed = place
            return False
        return any(place in gap for gap in self._skipped)

    def skip_to(self, place: int) -> int:
        """Go on at ``place``, as if all in front of it were fed.

        Returns:
            How many are given up; what stays empty is not.
        """
        gap = range(self.fed + 1, place)
        if not gap:
            return 0
        missing = len(gap) - sum(one in gap for one in self._empty)
        self._empty = {one for one in self._empty if one >= place}
        self._skipped.append(gap)
        self.fed = place - 1
        return missing
