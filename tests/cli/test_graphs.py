"""aiotask graph and aiotask graphs: graphs are seen, cancelled and replayed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, AsyncResult, DependencyFailed, Signature, group

from ..commands import run_command
from ..helpers import wait_until
from ..workers import Workers
from .command import invoke

SHOP = """
import asyncio
import os
from pathlib import Path

from aiotask import App

app = App(os.environ["TEST_APP"])
FOLDER = Path(os.environ["TEST_FOLDER"])


@app.task
def price(grams: int) -> int:
    return grams


@app.task
def total(prices: list[int]) -> int:
    return sum(prices)


@app.task
def label(text: str) -> int:
    if not (FOLDER / "paper").exists():
        raise ValueError("out of paper")
    return len(text)


@app.task(retries=1, backoff=lambda failures: 0.01)
def stamp() -> int:
    if not (FOLDER / "paper").exists():
        raise ValueError("out of ink")
    return 1


@app.task
async def hold() -> int:
    while not (FOLDER / "gate").exists():
        await asyncio.sleep(0.05)
    return 1


@app.task
def twice(grams: int) -> int:
    return total.s([price.s(grams).cast, price.s(grams).cast]).cast
"""


class Shop:
    """The app, and commands about it."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.app = App(name, url=url)
        self.folder = folder
        self.server = ("--url", url, "--name", name)

    def task(self, name: str, **options: Any) -> Any:
        task = self.app.named(f"shop:{name}")
        return task.options(**options) if options else task

    def s(self, name: str, *args: Any) -> Signature[Any]:
        made: Signature[Any] = self.task(name).s(*args)
        return made

    def ask(self, *command: str, code: int = 0) -> Any:
        """The JSON that a command prints."""
        done = invoke(*command, *self.server, "--json")
        assert done.exit_code == code, f"{command} ended with {done.exit_code}\n{done.output}{done.stderr}"
        return json.loads(done.stdout)

    def say(self, *command: str, code: int = 0) -> str:
        """What a command prints for people, on stdout and stderr."""
        done = invoke(*command, *self.server)
        assert done.exit_code == code, f"{command} ended with {done.exit_code}\n{done.output}{done.stderr}"
        return str(done.stdout) + str(done.stderr)

    def statuses(self, id: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.ask("graph", id)["nodes"]:
            counts[node["status"]] = counts.get(node["status"], 0) + 1
        return counts

    def wait_for(self, id: str, **statuses: int) -> None:
        wait_until(lambda: self.statuses(id) == statuses, description=f"{id} is {statuses}", timeout=60.0)


@pytest.fixture
def shop(redis_url: str, app_name: str, tmp_path: Path) -> Shop:
    made = Shop(redis_url, app_name, tmp_path)
    return made


@pytest.fixture
def work(shop: Shop, workers: Workers) -> Callable[[], None]:
    """Starts a worker of the app."""
    (shop.folder / "shop.py").write_text(SHOP)
    env = {"TEST_APP": shop.app.name, "TEST_FOLDER": str(shop.folder)}
    history = ("--result-db", str(shop.folder / "history.db"))
    return lambda: workers.start("shop", app_dir=shop.folder, env=env, options=history) and None


def sent(result: AsyncResult[Any]) -> str:
    result.blocking.sent()
    return result.id


def failed(shop: Shop, id: str = "parcel", task: str = "label", *args: Any) -> str:
    """A graph of three jobs, one of which has failed."""
    result = shop.task("total", id=id).apply_async([shop.s("price", 5).cast, shop.s(task, *args).cast])
    with pytest.raises(DependencyFailed):
        result.get(timeout=60)
    return id


# ---- seeing


def test_a_graph_is_a_tree_by_the_id_of_any_job_in_it(shop: Shop, work: Callable[[], None]) -> None:
    price = shop.s("price", 3)
    result = shop.task("total", id="order").apply_async([shop.s("total", [price.cast]).cast, price.cast])
    sent(result)
    waiting = shop.say("graph", "order").splitlines()
    work()
    result.get(timeout=60)

    seen = shop.ask("graph", "order")

    assert waiting[0].startswith("Graph order, 3 jobs: 2 WAITING, 1 PENDING; accepted ")
    assert [re.sub(r" \S+ (?=[A-Z])", " ", line) for line in waiting[1:5]] == [
        "shop:total WAITING",
        "  shop:total WAITING",
        "    shop:price PENDING",
        "  shop:price PENDING (see above)",
    ]
    assert (seen["state"], seen["total"], seen["left"]) == ("ended", 3, 0)
    by_id = {node["id"]: node for node in seen["nodes"]}
    assert by_id["order"]["upstream"][1:] == [price.id] and by_id[price.id]["status"] == "SUCCESS"
    assert shop.ask("graph", price.id) == seen
    assert shop.ask("graph", "order", "--limit", "1") == seen


def test_returned_calls_are_seen_below_their_job(shop: Shop, work: Callable[[], None]) -> None:
    work()
    result = shop.task("total").apply_async([shop.s("twice", 2).cast])
    assert result.get(timeout=60) == 4

    lines = shop.say("graph", result.id).splitlines()[1:]

    assert [(len(line) - len(line.lstrip()), line.split()[0]) for line in lines] == [
        (0, "shop:total"),
        (2, "shop:twice"),
        (4, "shop:total"),
        (6, "shop:price"),
        (6, "shop:price"),
    ]
    parents = {node["parent"] for node in shop.ask("graph", result.id)["nodes"]}
    assert len(parents) == 2


def test_ten_thousand_siblings_are_one_line(shop: Shop) -> None:
    members = group(shop.s("price", n) for n in range(10_000))
    id = sent(shop.task("total").apply_async(members.cast))

    head, root, many, *_ = shop.say("graph", id).splitlines()

    assert head.startswith(f"Graph {id}, 10,001 jobs: ") and root == f"shop:total {id} WAITING"
    assert many.startswith("  shop:price \N{MULTIPLICATION SIGN} 10,000: ")
    assert shop.say("graph", id, "--mermaid").count("-->") == 10_000
    (listed,) = shop.ask("graphs")
    assert (listed["id"], listed["task"], listed["total"], listed["left"]) == (id, "shop:total", 10_001, 10_001)
    assert listed["failed"] is None
    assert shop.ask("queues")[0]["graphs"] == {"graphs": 1, "left": 10_001}


def test_a_long_tree_is_shown_by_pages(shop: Shop) -> None:
    call = shop.s("price", 0)
    for _ in range(9):
        call = call.then(shop.task("price"))
    id = sent(call.apply_async())

    first = shop.say("graph", id, "--limit", "4").splitlines()
    second = shop.say("graph", id, "--limit", "6", "--offset", "4").splitlines()

    assert len(first) == 7 and first[5] == "Next page: --offset 4"
    assert len(second) == 8 and second[1].startswith(" " * 8 + "shop:price") and not second[-2].startswith("Next")


def test_a_job_whose_outcome_is_gone_leads_to_its_graph(shop: Shop, work: Callable[[], None]) -> None:
    work()
    history = ("--db", str(shop.folder / "history.db"))
    price = shop.task("price", result_ttl=0.0).s(1)
    root = shop.task("total").apply_async([price.cast])
    assert root.get(timeout=60) == 1
    done = run_command("graph", price.id, *shop.server)
    assert done.returncode == 1 and f'No graph and no job "{price.id}"' in done.stderr

    def recorded() -> bool:
        return len(json.loads(invoke("results", "--graph", root.id, *history, "--json").stdout or "[]")) == 2

    wait_until(recorded, description="the history has both", timeout=60.0)

    seen = shop.ask("graph", price.id, *history)

    assert seen["id"] == root.id
    assert {node["id"]: node["status"] for node in seen["nodes"]} == {price.id: "SUCCESS", root.id: "SUCCESS"}


def test_a_job_in_no_graph_is_shown_alone(shop: Shop) -> None:
    id = sent(shop.task("price").apply_async(1))

    assert shop.say("graph", id).splitlines() == [f"Job {id} is in no graph.", f"shop:price {id} PENDING"]
    assert shop.ask("graph", id)["state"] is None


def test_an_unknown_id_is_one_line(shop: Shop) -> None:
    for command, next_step in ((("graph",), "--db FILE"), (("graphs", "replay"), "aiotask graphs list")):
        done = run_command(*command, "nothing", *shop.server)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: No graph") and done.stderr.count("\n") == 1 and next_step in done.stderr
    assert "There are no graphs" in shop.say("graphs")


def test_graphs_are_listed_by_pages(shop: Shop) -> None:
    root = sent(shop.task("total").apply_async([shop.s("price", 1).cast]))
    members = sent(group([shop.s("price", 1), shop.s("price", 2)]).apply_async())

    listed = shop.ask("graphs", "list")

    assert {(graph["id"], graph["task"], graph["state"], graph["left"]) for graph in listed} == {
        (root, "shop:total", "accepted", 2),
        (members, "", "accepted", 2),
    }
    assert all(graph["since"] > 1e9 for graph in listed)
    assert shop.ask("graphs", "--limit", "1") + shop.ask("graphs", "--limit", "1", "--offset", "1") == listed
    said = shop.say("graphs", "--limit", "1")
    assert "0/2" in said and "--offset 1" in said
    assert "(group)" in shop.say("graphs")


def test_the_list_says_how_many_jobs_of_a_graph_have_failed(shop: Shop, work: Callable[[], None]) -> None:
    work()
    failed(shop, "parcel", "label", "leek")
    shop.wait_for("parcel", SUCCESS=1, FAILED=2)

    (before,), said = shop.ask("graphs"), shop.say("graphs")
    (shop.folder / "paper").touch()
    shop.ask("graphs", "replay", "parcel")
    shop.wait_for("parcel", SUCCESS=3)
    (after,), said_after = shop.ask("graphs"), shop.say("graphs")

    assert (before["failed"], after["failed"]) == (2, 0)
    (row,) = (line.split() for line in said.splitlines() if "parcel" in line)
    assert row[3:5] == ["3/3", "2"] and "failed  " in said and "failed  " not in said_after


def test_waiting_jobs_are_listed_and_shown(shop: Shop) -> None:
    price = shop.s("price", 1)
    root = sent(shop.task("total", queue="sums").apply_async([price.cast]))

    (waiting,) = shop.ask("jobs", "--status", "waiting")
    one = shop.ask("jobs", root)

    assert (waiting["id"], waiting["status"], waiting["task"]) == (root, "WAITING", "shop:total")
    assert (one["status"], one["queue"], one["graph"], one["deps"]) == ("WAITING", "sums", root, [price.id])
    assert [job["id"] for job in shop.ask("jobs")] == [price.id, root]
    assert shop.ask("jobs", "--status", "waiting", "--queue", "default") == []
    assert f"graph {root}" in shop.say("jobs")
    assert re.search(rf"^graph +{root}$", shop.say("jobs", price.id), re.MULTILINE)


# ---- changing


def test_cancel_ends_a_graph(shop: Shop, work: Callable[[], None]) -> None:
    work()
    holds = [shop.s("hold") for _ in range(3)]
    root = sent(shop.task("total").apply_async([each.cast for each in holds]))
    shop.wait_for(root, RUNNING=3, WAITING=1)

    (done,) = shop.ask("cancel", root)
    (again,) = shop.ask("cancel", root)

    assert (done["status"], done["said"]) == ("CANCELLED", "cancelled; 4 of its jobs had not ended")
    assert (again["status"], again["said"]) == ("CANCELLED", "had already been cancelled")
    assert shop.statuses(root) == {"CANCELLED": 4}


def test_cancel_of_a_group_and_of_one_job(shop: Shop) -> None:
    price = shop.s("price", 1)
    root = sent(shop.task("total").apply_async([price.cast, shop.s("price", 2).cast]))
    members = sent(group([shop.s("price", 1), shop.s("price", 2)]).apply_async())

    one, all_of_them = shop.ask("cancel", price.id, members)

    assert (one["status"], one["task"]) == ("CANCELLED", "shop:price")
    assert (all_of_them["status"], all_of_them["task"]) == ("CANCELLED", "graph")
    assert shop.statuses(members) == {"CANCELLED": 2}
    assert shop.statuses(root) == {"CANCELLED": 1, "PENDING": 1, "WAITING": 1}


def test_a_replay_runs_what_did_not_end_well(shop: Shop, work: Callable[[], None]) -> None:
    work()
    failed(shop, "parcel", "label", "leek")
    assert shop.statuses("parcel") == {"SUCCESS": 1, "FAILED": 2}
    assert "aiotask graphs replay ID" in shop.say("graph", "parcel")
    (shop.folder / "paper").touch()

    done = shop.ask("graphs", "replay", "parcel")

    assert (done["id"], done["replayed"], done["refused"]) == ("parcel", 2, "")
    shop.wait_for("parcel", SUCCESS=3)
    assert shop.app.result("parcel").get(timeout=60) == 9
    assert "Nothing is to be run again" in shop.say("graphs", "replay", "parcel")


def test_a_replay_is_refused_while_jobs_run(shop: Shop) -> None:
    root = sent(shop.task("total").apply_async([shop.s("price", 1).cast]))

    said = shop.say("graphs", "replay", root, code=1)

    assert said.startswith(f'error: Graph "{root}" is not at rest') and f"aiotask graph {root}" in said
    assert shop.ask("graphs", "replay", root, code=1)["replayed"] == 0


def test_a_replay_is_refused_where_a_value_is_gone(shop: Shop, work: Callable[[], None]) -> None:
    work()
    price = shop.s("price", 5)
    result = shop.task("total", id="gone").apply_async([price.cast, shop.s("label", "leek").cast])
    with pytest.raises(DependencyFailed):
        result.get(timeout=60)
    assert shop.app.result(price.id).blocking.forget()

    said = shop.say("graphs", "replay", "gone", code=1)

    assert price.id in said and "Send the calls anew" in said


def test_a_dead_letter_of_a_graph_is_replayed_with_its_graph_alone(shop: Shop, work: Callable[[], None]) -> None:
    work()
    failed(shop, "parcel", "stamp")
    (letter,) = shop.ask("dead", "list")
    assert letter["graph"] == "parcel"

    by_id = shop.ask("dead", "replay", letter["id"], code=1)
    by_filter = shop.ask("dead", "replay", "--all", "--yes", code=1)

    nothing = {"replayed": [], "missing": [], "outdated": [], "of_graphs": {letter["id"]: "parcel"}}
    assert by_id == by_filter == nothing
    assert "aiotask graphs replay parcel" in shop.say("dead", "replay", letter["id"], code=1)
    deleted = shop.ask("dead", "delete", letter["id"], code=1)
    assert deleted == {"deleted": [], "missing": [], "of_graphs": {letter["id"]: "parcel"}}
    assert "aiotask graphs replay parcel" in shop.say("dead", "delete", letter["id"], code=1)
    assert "aiotask graphs replay ID" in shop.say("dead", "list")
    (shop.folder / "paper").touch()
    assert shop.ask("graphs", "replay", letter["id"])["replayed"] == 2
    shop.wait_for("parcel", SUCCESS=3)
    assert shop.ask("dead", "list") == []
