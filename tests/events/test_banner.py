"""The banner names everything that an operator looks for."""

from __future__ import annotations

import io
import json
from pathlib import Path

from msgspec.structs import replace

from aiotask import App, Limit
from aiotask.daemon import banner
from aiotask.daemon.app_facts import app_facts
from aiotask.daemon.settings import WorkerSettings
from aiotask.log import setup

from .said import lines

SHOP = banner.BannerApp(
    name="shop",
    url="redis://:***@db:6379/0",
    server="valkey 8.1",
    durability="appendonly everysec",
    tasks=["shop.tasks:fetch", "shop.tasks:render"],
    queues=["default", "mail"],
    pending=1234,
)
FACTS = banner.BannerFacts(version="1.2.3", python="3.12.4", processes=2, result_db="/srv/history.db", apps=[SHOP])


def test_the_banner_names_everything_an_operator_looks_for() -> None:
    said = banner.banner(FACTS)

    for fact in (
        "aiotask 1.2.3",
        "Python 3.12.4",
        "2 worker processes",
        "valkey 8.1 at redis://:***@db:6379/0 (appendonly everysec)",
        "default, mail",
        "2: shop.tasks:fetch, shop.tasks:render",
        "1,234 jobs from before",
        "/srv/history.db",
    ):
        assert fact in said


def test_the_banner_says_what_is_missing() -> None:
    bare = banner.banner(replace(FACTS, result_db=None, apps=[replace(SHOP, tasks=[], pending=0)]))

    assert "--result-db" in bare
    assert "none (has the module with the tasks been imported?)" in bare
    assert "from before" not in bare


def test_the_banner_names_limits_and_schedules_where_there_are_some() -> None:
    shop = replace(
        SHOP, limits=["mail (2 at once)", "shop:call (5/s, burst 1)"], schedules=["shop:report (@daily (UTC))"]
    )
    said = banner.banner(replace(FACTS, apps=[shop]))

    assert "\n  limits   2: mail (2 at once), shop:call (5/s, burst 1)\n" in said
    assert "\n  schedule 1: shop:report (@daily (UTC))\n" in said
    assert "limits" not in banner.banner(FACTS) and "schedule" not in banner.banner(FACTS)


def test_the_banner_names_what_the_code_of_an_app_declares(app_name: str) -> None:
    app = App(app_name, url="redis://127.0.0.1/9")

    @app.task(limit=Limit("mail", by="tenant", max_running_each=2), every=30)
    def send(tenant: str = "") -> None: ...

    @app.task(rate="5/s", name="shop:call")
    def call() -> None: ...

    facts = app_facts(app, WorkerSettings(apps=("shop",), app_dir=Path(), concurrency=1))
    assert facts.limits == ["mail (2 at once for each key)", "shop:call (5/s, burst 1)"]
    assert [each.partition(" (")[2] for each in facts.schedules] == ["every 30 s)"]


def test_the_banner_names_the_database_of_the_outbox() -> None:
    tasks = replace(SHOP, outbox="postgresql://db/shop")
    rows = replace(SHOP, rows=True, url="sqlite:///shop.db", send_to="redis://:***@db:6379/0")

    assert "\n  database postgresql://db/shop (its outbox)\n" in banner.banner(replace(FACTS, apps=[tasks]))
    assert "\n  outbox   sent to redis://:***@db:6379/0\n" in banner.banner(replace(FACTS, apps=[rows]))
    assert "outbox" not in banner.banner(FACTS)


def test_the_banner_is_one_object_in_a_json_log_and_lines_elsewhere(stream: io.StringIO) -> None:
    banner.announce(FACTS)
    assert lines(stream) == banner.banner(FACTS).splitlines()

    as_json = io.StringIO()
    setup.configure(log_json=True, stream=as_json)
    banner.announce(FACTS)
    (line,) = map(json.loads, lines(as_json))
    assert line["event"] == "banner"
    assert line["apps"][0]["pending"] == 1234
