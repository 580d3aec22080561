"""Alert rules and dashboard name metrics that exist; each rule fires when it should, as promtool finds."""

import json
import re
import subprocess

import yaml
from prometheus_server import ALERTS, DASHBOARD, ROOT, dashboard_queries

from shared import metrics

_RULES = ROOT / "deploy" / "prometheus" / "payg.rules.yaml"
_TESTS = ROOT / "deploy" / "prometheus" / "payg.tests.yaml"
#: Of the client library, about each process.
_OF_PROCESSES = {"process_cpu_seconds_total"}


def _named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:payg|process)_\w+", expression))


def test_alerts_and_panels_name_metrics_that_exist() -> None:
    queries = [(alert["alert"], alert["expr"]) for alert in ALERTS] + dashboard_queries()
    unknown = {title: _named(query) - metrics.names() - _OF_PROCESSES for title, query in queries}
    assert {title: names for title, names in unknown.items() if names} == {}


def test_the_rules_are_sound_and_each_fires_when_it_should() -> None:
    config = _RULES.with_name("prometheus.yaml")
    for command in (["check", "config", config], ["check", "rules", _RULES], ["test", "rules", _TESTS]):
        done = subprocess.run(
            ["/usr/bin/env", "promtool", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_a_test_of_its_own() -> None:
    tested = {test["name"] for test in yaml.safe_load(_TESTS.read_text())["tests"][1:]}
    assert tested == {alert["alert"] for alert in ALERTS}


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_rule_has_a_page_in_the_runbooks() -> None:
    runbooks = (ROOT / "docs" / "runbooks.md").read_text()
    pages = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", runbooks, re.MULTILINE | re.DOTALL))
    assert set(pages) == {alert["alert"] for alert in ALERTS}
    for name, page in pages.items():
        assert re.findall(r"\*\*(\w+)\.\*\*", page) == ["Means", "Look", "Do"], name
    linked = {alert["alert"]: alert["annotations"]["runbook"] for alert in ALERTS}
    assert linked == {name: f"docs/runbooks.md#{name.lower()}" for name in pages}
