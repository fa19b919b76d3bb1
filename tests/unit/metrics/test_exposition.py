"""What Prometheus reads, what is written about it, and what dashboard and alerts ask of it: the same names."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import SUPERVISOR, Board, State
from dmarcmilter.metrics.exposition import CONTENT_TYPE_LATEST, Exposition
from dmarcmilter.metrics.gauges import JournalState
from dmarcmilter.metrics.metric_definitions import FAMILIES, LATENCIES, MetricKind, place
from tests.support.paths import PROJECT

DASHBOARD = json.loads((PROJECT / "conf" / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = PROJECT / "conf" / "prometheus-alerts.yml"
KNOWN = JournalState(unread=10, ingest_age=2.5, free=4096)


def exposed(board=None, journal=KNOWN):
    text = Exposition(board or Board(), lambda: journal).render().decode()
    return {found.name: found for found in text_string_to_metric_families(text)}


def samples(found, name):
    return {tuple(sorted(sample.labels.items())): sample.value for sample in found.samples if sample.name == name}


def every_name():
    return {sample.name for family in exposed().values() for sample in family.samples}


def test_every_time_series_is_there_from_the_start():
    """A counter that only appears with its first event has no rate for it."""
    found = exposed()
    for family in FAMILIES:
        metric = found[family.name.removesuffix("_total")]
        assert metric.type == family.kind
        assert metric.documentation == family.help
        named = {sample.labels.get(family.label, "") for sample in metric.samples}
        assert named == set(family.values)


def test_values():
    board = Board()
    for number in range(3):
        row = board.row(board.take())
        row.begin(1000 + number)
        row.add(place(f.VERDICTS, "fail"), 5)
    row.beat(State.LEAVING)
    board.row(SUPERVISOR).set(place(f.WANTED), 2)
    found = exposed(board)
    assert samples(found["dmarcmilter_messages"], "dmarcmilter_messages_total")[("result", "fail"),] == 15
    assert samples(found["dmarcmilter_workers"], "dmarcmilter_workers") == {
        (("state", "serving"),): 2,
        (("state", "leaving"),): 1,
    }
    assert samples(found["dmarcmilter_workers_wanted"], "dmarcmilter_workers_wanted") == {(): 2}
    assert samples(found["dmarcmilter_ingest_age_seconds"], "dmarcmilter_ingest_age_seconds") == {(): 2.5}


def test_histograms_are_cumulative_and_in_seconds():
    board = Board()
    row = board.row(board.take())
    start = place(f.STAGES, "body")
    row.add(start, 2)
    row.add(start + len(LATENCIES), 3)
    row.add(start + len(LATENCIES) + 1, 1_500_000)
    metric = exposed(board)["dmarcmilter_stage_seconds"]
    body = [sample for sample in metric.samples if sample.labels["stage"] == "body"]
    buckets = {float(sample.labels["le"]): sample.value for sample in body if sample.name.endswith("_bucket")}
    assert buckets == dict.fromkeys(LATENCIES, 2.0) | {float("inf"): 5.0}
    assert {sample.name.rpartition("_")[2]: sample.value for sample in body if "le" not in sample.labels} == {
        "count": 5.0,
        "sum": 1.5,
    }


def test_what_is_not_known_is_left_out():
    found = exposed(journal=JournalState())
    assert not [name for name in found if name.startswith(("dmarcmilter_journal_unread", "dmarcmilter_ingest"))]


def test_labels_are_few():
    """Not one of them comes from a message."""
    assert sum(len(family.values) for family in FAMILIES) < 200
    assert "version=0.0.4" in CONTENT_TYPE_LATEST or "version=1.0.0" in CONTENT_TYPE_LATEST


# --- what is written about them


def test_the_manual_has_each_metric():
    """docs/monitoring.md: `| name | type | labels | meaning |`."""
    text = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(dmarcmilter_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    told = {name: (kind, labels, meaning) for name, kind, labels, meaning in rows}
    counted = {
        family.name: (
            str(family.kind),
            f"{family.label}: {', '.join(family.values)}" if family.label else "",
            family.help,
        )
        for family in FAMILIES
    }
    assert {name: told.get(name) for name in counted} == counted
    measured = {
        name: (metric.type, metric.documentation)
        for name, metric in exposed().items()
        if name not in {family.name.removesuffix("_total") for family in FAMILIES}
    }
    assert {name: (kind, meaning) for name, (kind, _, meaning) in told.items() if name not in counted} == measured


def names_in(expression):
    return set(re.findall(r"\b(dmarcmilter_\w+)", expression))


def label_values_in(expression):
    """(metric, label, value) of plain comparisons."""
    for name, selector in re.findall(r"\b(dmarcmilter_\w+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
            if label not in {"job", "instance"}:
                yield from ((name, label, one) for one in (value.split("|") if operator == "=~" else [value]))


def expressions():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def test_dashboard_and_alerts_ask_for_what_there_is():
    asked = [expression for expression in expressions() if "dmarcmilter_" in expression]
    assert len(asked) > 50
    known = every_name()
    assert set().union(*map(names_in, asked)) - known == set()
    by_name = {family.name: family for family in FAMILIES}
    for name, label, value in {found for one in asked for found in label_values_in(one)}:
        if name in by_name:
            assert label == by_name[name].label, name
            assert value in by_name[name].values, name


def test_each_metric_is_on_the_dashboard():
    shown = set().union(*(names_in(expression) for expression in expressions()))
    kept = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {family.name for family in FAMILIES} - kept == set()


def test_the_dashboard_can_be_imported():
    assert DASHBOARD["title"] == "dmarcmilter"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]


def test_counters_are_only_read_as_rates():
    for expression in expressions():
        for name in re.findall(r"\b(dmarcmilter_\w+_total)", expression):
            assert re.search(rf"(rate|increase)\({name}\b", expression), expression


def test_alerts_say_what_to_do():
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["alert"].startswith("Dmarcmilter")
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"]["summary"]


def test_alerts_fire_when_they_should():
    """By Prometheus's own tool, where it is installed (Debian: the package prometheus)."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the alert rules were not run, only parsed")
    for command in (["check", "rules", str(ALERTS)], ["test", "rules", "prometheus-alerts-test.yml"]):
        done = subprocess.run([promtool, *command], check=False, cwd=PROJECT / "tests", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_kinds():
    assert {family.kind for family in FAMILIES} == set(MetricKind)
