"""The board for Grafana and the alert rules speak only of what a real `/metrics` has, and of pages that are there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from aiotask import App
from aiotask.errors import JobError

from ..helpers import wait_until_async
from ..server import PrivateServer
from ..test_health import ask, free_port
from ..workers import ROOT, Workers
from .test_metrics import TASK

BOARD = json.loads((ROOT / "docs" / "grafana" / "aiotask.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "docs" / "grafana" / "alerts.yaml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
#: Labels that Prometheus adds to each series it reads.
ADDED = {"instance", "job"}

_METRIC = re.compile(r"\b(aiotask_\w+)(?:\{([^}]*)\})?")
_MATCH = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")

Series = dict[str, dict[str, set[str]]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str, str]]:
    """Where a query stands, the query, and the text in which its labels are shown."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for each in BOARD["annotations"]["list"]:
        yield each["name"], each["expr"], each["titleFormat"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            yield variable["name"], f"count by ({label}) ({metric})", ""
    for rule in rules():
        shown = " ".join(re.sub(r"\$labels\.", "", text) for text in rule["annotations"].values())
        yield rule["alert"], rule["expr"], shown


def faults(series: Series, where: str, query: str, shown: str) -> Iterator[str]:
    """What a query says that no series has."""
    labels: set[str] = set(ADDED)
    metrics = _METRIC.findall(query)
    if not metrics:
        yield f"{where}: no metric in {query}"
    for metric, selector in metrics:
        if metric not in series:
            yield f"{where}: no metric {metric}"
            continue
        labels |= set(series[metric])
        matched = _MATCH.findall(selector)
        if ",".join("".join((name, how, f'"{value}"')) for name, how, value in matched) != re.sub(r"\s", "", selector):
            yield f"{where}: {{{selector}}} is not understood"
        for label, how, value in matched:
            if label not in series[metric]:
                yield f"{where}: {metric} has no label {label}"
            elif how in ("=", "!=") and value and value not in series[metric][label]:
                yield f"{where}: {metric} has no {label}={value}"
    by = {label.strip() for group in _BY.findall(query) for label in group.split(",")}
    yield from (f"{where}: nothing has a label {label}" for label in by - labels)
    named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", shown)) - {"value"}
    yield from (f"{where}: {label} is shown and is not there" for label in named - by)


@pytest.fixture
async def series(workers: Workers, own_server: PrivateServer, app_name: str) -> Series:
    """Every sample on the page of a host whose jobs have ended in all ways and one of whose processes was killed."""
    port = free_port()
    workers.url = own_server.url
    env = {"TEST_APP": app_name, "AIOTASK_RELEASE": "v7"}
    options = ("--health-port", str(port), "--result-db", str(workers.directory / "history.db"))
    workers.start("tests.acceptance.apps.counted", concurrency=2, options=options, env=env)
    app = App(app_name, url=own_server.url)

    async def killed() -> bool:
        async with app.inspector() as inspector:
            pids = [int(str(worker.facts["pid"])) for worker in await inspector.workers()]
        os.kill(pids[0], signal.SIGKILL)
        return True

    async with app:
        assert await killed()
        handles: list[Any] = [app.named(f"{TASK}slow").apply_async(n) for n in range(20)]
        handles += [
            app.named(f"{TASK}fails").options(retries=1).apply_async(1),
            app.named(f"{TASK}hangs").apply_async(),
        ]
        for handle in handles:
            with contextlib.suppress(JobError, KeyError):
                await handle

    def read() -> Series:
        status, text = ask(port, "/metrics")
        assert status == 200
        found: Series = defaultdict(lambda: defaultdict(set))
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    found[sample.name][label].add(value)
                found[sample.name].setdefault("", set())
        return found

    def is_complete() -> Series | None:
        found = read()
        # Counters are there from the beginning, and histograms with what was counted.
        whole = {"aiotask_job_run_seconds_bucket", "aiotask_queue_wait_seconds_bucket"} <= found.keys()
        return found if whole else None

    found = await wait_until_async(is_complete, description="all is on the page", timeout=90)
    return found


async def test_every_query_is_about_metrics_and_labels_that_are_there(series: Series) -> None:
    asked = list(queries())
    assert len(asked) > 40
    assert [fault for where, query, shown in asked for fault in faults(series, where, query, shown)] == []
    # The board shows every series of the page but the parts of histograms.
    told = {metric for _, query, _ in asked for metric, _ in _METRIC.findall(query)}
    assert {name for name in series if not name.endswith(("_sum", "_count"))} - told == set()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(aiotask_jobs)", "no metric aiotask_jobs"),
        ("sum by (tasks) (aiotask_jobs_total)", "nothing has a label tasks"),
        ('aiotask_jobs_total{queue="a"}', "aiotask_jobs_total has no label queue"),
        ('aiotask_jobs_total{outcome="broken"}', "aiotask_jobs_total has no outcome=broken"),
        ("up", "no metric in up"),
    ],
)
def test_what_is_not_there_is_told(query: str, fault: str) -> None:
    series: Series = {"aiotask_jobs_total": {"task": {"a"}, "outcome": {"failed"}}}
    assert list(faults(series, "here", query, "")) == [f"here: {fault}"]


def test_panels_have_their_own_places() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_every_alert_says_what_to_do() -> None:
    table = PAGE[PAGE.index("## What do I do about an alert?") :]
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", table, re.MULTILINE))
    assert list(rows) == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == "docs/metrics.md#what-do-i-do-about-an-alert"
        assert rule["annotations"]["summary"].endswith(".") and rule["labels"]["severity"] in (
            "critical",
            "warning",
            "info",
        )
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
