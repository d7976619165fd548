"""Alerts, their runbook, and the dashboard: checked by Prometheus' own tool."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from gateway.ops.metrics import METRICS
from tests.deploy.tools import DEPLOY, ROOT, program, read_yaml, run

PROMETHEUS = DEPLOY / "prometheus"
ALERTS: list[dict[str, Any]] = [
    rule for group in read_yaml(PROMETHEUS / "alerts.yaml")["groups"] for rule in group["rules"]
]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana loads it."""
    found = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    assert isinstance(found, dict)
    return found


def queries() -> list[str]:
    """Every query of the dashboard, with Grafana's own variables replaced."""
    found = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]
    assert found
    pattern = re.compile(r"\$__(rate_interval|range)")
    return [pattern.sub("5m", query).replace("$instance", ".*") for query in found]


def promtool(*arguments: str | Path) -> str:
    """Run promtool, which must be content."""
    ran = run(program("promtool", "prometheus"), *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def anchors(document: Path) -> set[str]:
    """What can stand behind # in a link to a Markdown document, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_prometheus_takes_its_configuration_and_the_alerts() -> None:
    """`promtool check`, the file of rules included."""
    assert "SUCCESS" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    """`promtool test rules`: each alert has a case in which it fires."""
    promtool("test", "rules", PROMETHEUS / "alerts_test.yaml")
    cases = [
        case
        for group in read_yaml(PROMETHEUS / "alerts_test.yaml")["tests"]
        for case in group["alert_rule_test"]
    ]
    fire = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fire == {alert["alert"] for alert in ALERTS}


def test_an_alert_says_what_is_wrong_and_where_it_is_written_what_to_do() -> None:
    """Each has a summary, a severity, and a link into RUNBOOK.md that leads somewhere."""
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]
        path, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / path), alert["alert"]


def test_every_metric_that_is_asked_for_is_one_that_is_exported() -> None:
    """A typo would be an alert that never fires, or an empty panel; so would a wrong label."""
    kinds = {"histogram": ("_bucket", "_sum", "_count")}
    exported = {
        name + suffix: {metric.label, "le" if suffix == "_bucket" else ""}
        for name, metric in METRICS.items()
        for suffix in kinds.get(metric.type, ("",))
    }
    asked = [*(alert["expr"] for alert in ALERTS), *queries()]
    for query in asked:
        names = re.findall(r"\bhomeport_\w+", query)
        assert set(names) <= exported.keys(), query
        labels = {"job", "instance", "region"}.union(*(exported[name] for name in names))
        for group in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= labels, query


def test_every_metric_is_on_the_dashboard() -> None:
    """What is exported is looked at by somebody."""
    text = "\n".join(queries())
    assert [name for name in METRICS if name not in text] == []


def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    """Each is one, by Prometheus' own parser: a rule is made of each."""
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """Panels with ids of their own, none over another, and data from the variable."""
    found = dashboard()
    ids = Counter(panel["id"] for panel in found["panels"])
    assert max(ids.values()) == 1
    places = [panel["gridPos"] for panel in found["panels"]]
    cells = Counter(
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    for panel in found["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_is_what_its_table_says() -> None:
    """dashboard.json is written by generate.py, and by nobody else."""
    assert (DEPLOY / "grafana" / "dashboard.json").read_text() == _generator().text()


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DEPLOY / "grafana" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
