"""The results of a run: medians and spreads. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.case_process import ERROR
from benchmarks.percentiles import Spread, spread


class Found(NamedTuple):
    """The figures of one case in one round."""

    measure: str
    peer: str
    aspect: str
    at: int
    round: int
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run. ``about`` is when, where, with which versions, against which broker."""

    about: Mapping[str, Any]
    found: Sequence[Found]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can have it."""
        return {**self.about, "results": [each._asdict() for each in self.found]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Results":
        """Return what ``to_dict`` made."""
        about = {name: value for name, value in values.items() if name != "results"}
        return cls(about=about, found=[Found(**each) for each in values["results"]])

    def peers(self, measure: str, aspect: str = "") -> Sequence[str]:
        """Return the ways to log that were measured, in the order of their first round."""
        rows = (each for each in self.found if each[0] == measure and each.aspect == aspect)
        return list(dict.fromkeys(each.peer for each in rows))

    def sizes(self, aspect: str) -> Sequence[int]:
        """Return how far an aspect has grown."""
        return sorted({each.at for each in self.found if each.aspect == aspect})

    def figure(
        self, measure: str, peer: str, name: str, aspect: str = "", at: int = 0
    ) -> Spread | None:
        """Return the spread of a figure over the rounds; None where no round has it."""
        values = [
            float(each.figures[name])
            for each in self._of(measure, peer, aspect, at)
            if name in each.figures
        ]
        return spread(values) if values else None

    def error(self, measure: str, peer: str, aspect: str = "", at: int = 0) -> str | None:
        """Return why a case could not be measured, where a round had to say so."""
        reasons = (each.figures.get(ERROR) for each in self._of(measure, peer, aspect, at))
        return next((each for each in reasons if each), None)

    def _of(self, measure: str, peer: str, aspect: str, at: int) -> Iterator[Found]:
        wanted = (measure, peer, aspect, at)
        return (each for each in self.found if each[:4] == wanted)


class NotAlike(Exception):
    """Results of different surroundings can't be shown as one."""


def merged(parts: Sequence[Results]) -> Results:
    """Return the results of a run that was made in parts; ``about`` is that of the first.

    Raises:
        NotAlike: the machine, the broker, the plan or a version is another one.
    """
    first = parts[0]
    for part in parts[1:]:
        if _surroundings(part) != _surroundings(first):
            raise NotAlike("the parts are not of one machine, one broker, one plan and one version")
    return Results(about=first.about, found=[each for part in parts for each in part.found])


def _surroundings(results: Results) -> Sequence[Any]:
    """Return what has to be the same. How busy the machine was may differ, the day, and how many
    rounds there were."""
    plan, _, _ = str(results.about["plan"]).partition(",")
    busy = ("load", "others")
    machine = {name: text for name, text in results.about["machine"].items() if name not in busy}
    return [machine, plan, *(results.about[name] for name in ("broker", "versions"))]
