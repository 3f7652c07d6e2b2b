"""The dashboard and the alerts in contrib/ ask for metrics that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kiel_logging.metrics import METRICS
from kiel_logging.prometheus import KafkaHandlerCollector
from kiel_logging.ship.daemon import Daemon
from kiel_logging.ship.watch import figures

CONTRIB: Final = Path(__file__).parents[1] / "contrib"
OF_SCRAPES: Final = {"job", "instance"}
OF_SHIP: Final = {"topic", "error", "kind"}
LABELS: Final = {one.full_name: {"handler", *one.labels} for one in METRICS}


def alerts() -> list[dict[str, Any]]:
    """Return the rules of all groups."""
    groups = yaml.safe_load((CONTRIB / "prometheus-alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((CONTRIB / "grafana-dashboard.json").read_text())
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield all queries, with what they are for."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield panel["title"], expression


QUERIES: Final = list(queries())


def walked(query: str) -> list[Any]:
    """Return the parts of a query; fail if it is none."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(query), lambda one: found.append(one) or True)
    return found


def selectors(query: str) -> list[Any]:
    """Return the parts that name a metric."""
    return [
        getattr(one, "vector_selector", one)
        for one in walked(query)
        if isinstance(one, promql_parser.VectorSelector | promql_parser.MatrixSelector)
    ]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The names of all series of a collector and of a shipper, and the metric of each."""
    registry = CollectorRegistry()
    registry.register(KafkaHandlerCollector([]))
    daemon = Daemon((tmp_path_factory.mktemp("spool"),), lambda: {"brokers": "localhost:1"})
    try:
        text = generate_latest(registry).decode() + "".join(figures(daemon))
    finally:
        daemon.close()
    found: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for ending in endings.get(family.type, [""]):
            found[family.name + ending] = family.name
    return found


@pytest.mark.parametrize(
    "query", [query for _, query in QUERIES], ids=[what for what, _ in QUERIES]
)
def test_queries(query: str, exposed: dict[str, str]) -> None:
    """Each is PromQL, names series that are exposed, and selects by labels that they have."""
    found = selectors(query)
    assert found
    for one in found:
        assert one.name in exposed, f"{one.name} is exposed by nothing"
        known = LABELS.get(exposed[one.name], OF_SHIP) | OF_SCRAPES | {"le"}
        assert {matcher.name for matcher in one.matchers.matchers} <= known
    labels = set().union(*(LABELS.get(exposed[one.name], OF_SHIP) for one in found))
    for part in walked(query):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            assert set(part.modifier.labels) <= labels | OF_SCRAPES | {"le"}


def test_every_metric_is_used_or_known_to_be_left_out() -> None:
    """A metric that is made is looked at; those that only explain others are named here."""
    used = {one.name for _, query in QUERIES for one in selectors(query)}
    unused = {
        metric.full_name
        for metric in METRICS
        if not any(name.startswith(metric.full_name) for name in used)
    }
    assert unused == {
        "kiel_logging_records_diverted",
        "kiel_logging_troubles",
        "kiel_logging_trouble_records",
    }


def test_alerts_say_what_to_do() -> None:
    """Each has another name, a severity, a summary and a description; the page explains it."""
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    page = (CONTRIB.parent / "docs" / "watching.rst").read_text()
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == rule["annotations"].keys()
        assert f"``{rule['alert']}``" in page


def test_panels_lie_side_by_side() -> None:
    """No two panels of the dashboard overlap; each has a title and says what it shows."""
    places = set[tuple[int, int]]()
    for panel in dashboard()["panels"]:
        assert panel["title"]
        assert panel["description"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places
        places |= cells
    assert max(x for x, _ in places) == 23
