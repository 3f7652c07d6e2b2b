"""Trouble that lasts: since when, how much waits because of it, and when it is reported.

The law:

- A *trouble* is an error of one subject: a topic, a broker, or all of Kafka. It begins when it is
  first seen and is over when it was not seen for ``CALM`` seconds.
- It is reported after ``PATIENCE`` seconds, for elections and restarts take a few; at once if it
  does not go away by itself. While it lasts it is reported again every ``REPEAT`` seconds, or when
  the error is another one. If it was reported, so is its end.
- A subject is reported at most once in ``PERIOD`` seconds, and ``MOST`` subjects are. The others
  follow, those first that have waited longest.

No clock: ``now`` comes in. The sender looks on each of its turns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from kiel_logging.errors import kind_of

PATIENCE: Final = 5.0
"""Seconds that a trouble has to go away by itself before it is reported."""

REPEAT: Final = 60.0
"""Seconds until a trouble that lasts is reported again."""

PERIOD: Final = 10.0
"""Seconds between two reports of one subject at least."""

MOST: Final = 4
"""Reports in one period: there is room for other messages among the ten of ``diagnostics``."""

CALM: Final = 2.0
"""Seconds without a trouble until it is over: a broker that hangs up is connected in between."""


class Seen(NamedTuple):
    """One subject is in trouble now, and so many records wait because of that.

    ``urgent`` errors seldom go away by themselves: they are reported at once.
    """

    error: Exception
    records: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """One subject's trouble. ``since`` is in seconds of the engine's clock."""

    subject: str
    error: Exception
    since: float
    records: int

    @property
    def kind(self) -> str:
        """The name of Kafka's error if a broker rejected records, else of the error's class."""
        return kind_of(self.error)


class Report(NamedTuple):
    """A trouble to be reported: that it lasts, or that it is over.

    ``others`` is how many subjects more are in trouble and are reported later.
    """

    trouble: Trouble
    over: bool = False
    others: int = 0


class _Course:
    """A trouble so far, and when it is reported next.

    Attributes:
        lasts: whether it has lasted long enough to be reported.
        reported: the kind of its error when it was reported last.
    """

    def __init__(self, trouble: Trouble, due_at: float) -> None:
        self.trouble = trouble
        self.due_at = due_at
        self.seen_at = trouble.since
        self.lasts = False
        self.reported: str | None = None


class Troubles:
    """Follows all subjects in trouble."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}
        self._recent: list[float] = []
        self._quiet_until: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Troubles {sorted(self._courses)}>"

    def has_reported(self, subject: str) -> bool:
        """Whether the trouble of ``subject`` was reported and is not over."""
        course = self._courses.get(subject)
        return course is not None and course.reported is not None

    @property
    def lasting(self) -> tuple[Trouble, ...]:
        """Those that have lasted long enough to be reported, and are not over."""
        return tuple(one.trouble for one in self._courses.values() if one.lasts)

    def update(self, seen: Mapping[str, Seen], now: float) -> list[Report]:
        """Take in all that is wrong at ``now``; return what is to be reported."""
        for subject, one in seen.items():
            self._see(subject, one, now)
        return self._end(now) + self._due(now)

    def _see(self, subject: str, seen: Seen, now: float) -> None:
        course = self._courses.get(subject)
        if course is None:
            trouble = Trouble(subject, seen.error, now, seen.records)
            wait = 0.0 if seen.urgent else PATIENCE
            due_at = max(now + wait, self._quiet_until.get(subject, now))
            self._courses[subject] = _Course(trouble, due_at)
            return
        course.seen_at = now
        course.trouble = Trouble(subject, seen.error, course.trouble.since, seen.records)
        another = course.reported not in (None, course.trouble.kind)
        if another or (seen.urgent and course.reported is None):
            course.due_at = min(course.due_at, max(now, self._quiet_until.get(subject, now)))

    def _end(self, now: float) -> list[Report]:
        ended = [one for one in self._courses.values() if now - one.seen_at >= CALM]
        for course in ended:
            del self._courses[course.trouble.subject]
        return [Report(one.trouble, over=True) for one in ended if one.reported is not None]

    def _due(self, now: float) -> list[Report]:
        self._recent = [at for at in self._recent if now - at < PERIOD]
        self._quiet_until = {who: at for who, at in self._quiet_until.items() if now < at}
        due = [one for one in self._courses.values() if now >= one.due_at and one.seen_at == now]
        due.sort(key=lambda one: one.due_at)
        for course in due:
            course.lasts = True
        room = max(0, MOST - len(self._recent))
        for course in due[:room]:
            course.reported = course.trouble.kind
            course.due_at = now + REPEAT
            self._recent.append(now)
            self._quiet_until[course.trouble.subject] = now + PERIOD
        return [Report(course.trouble, others=len(due[room:])) for course in due[:room]]

    def __bool__(self) -> bool:
        """Whether anything is wrong, so that it has to be looked at again."""
        return bool(self._courses)
