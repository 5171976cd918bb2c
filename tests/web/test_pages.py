"""Every page: what it shows, that every link of it leads somewhere, and what it costs to ask again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aiotask import App, Call, Middleware
from aiotask.contrib.web import Settings
from aiotask.contrib.web.pages import PAGES
from aiotask.ops.connection import Place
from aiotask.ops.views.job import timeline
from aiotask.ops.visitors import ACTS, Verb

from ..helpers import wait_until_async
from ..server import PrivateServer
from .site import Populated, as_visitor, deploy, read, site, walk


async def text_of(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text[:2000]
    return read(answer.text).text


async def send(app: App, task: str) -> None:
    async with app:
        await app.s(task, 7).apply_async().sent()


async def test_every_link_leads_to_a_page(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        found = await walk(client)

    assert {path.partition("?")[0] for path in found} >= {path for path in PAGES if "{" not in path} - {
        "/find",
        "/metrics",
        "/series.json",
    }
    wrong = {path: status for path, status in found.items() if status not in (200, 303)}
    # What has ended and is not recorded, or was never sent, is not there.
    assert set(wrong.values()) <= {404}, wrong
    assert all("/jobs/" in path or "/graphs/" in path for path in wrong), wrong


async def test_pages_show_what_is_there(populated: Populated) -> None:
    ids = populated.ids
    expected = {
        "/": [
            "Queue mail has been paused for",
            "by ada (it moves), and 1 job waits",
            "shop:hold",
            "ValueError",
            "no leek for ada",
        ],
        "/queues": ["mail", "paused", "by ada", "consuming"],
        "/queues/mail": ["Paused by ada", "it moves", "shop:mail", "100 %"],
        "/jobs": ["shop:hold", "SCHEDULED", "PARKED", "WAITING", "SUCCESS", "FAILED"],
        "/jobs?status=scheduled": [ids["scheduled"]],
        "/jobs?status=failed": ["no leek for ada"],
        "/jobs?q=leek": [ids["shop:fail"]],
        f"/jobs/{ids['pending']}": ["It has not started: the queue mail is paused", "7\n8".replace("\n", " ")],
        f"/jobs/{ids['shop:add']}": ["SUCCESS", "Result", "3", "Timeline"],
        f"/jobs/{ids['shop:fail']}": ["ValueError: no leek for ada", "Traceback"],
        f"/jobs/{ids['line']}": ["come before it", "acme"],
        f"/jobs/{ids['graph']}": ["WAITING", "Needs the values of", ids["graph"]],
        "/running": ["shop:hold", ids["running"]],
        "/dead": ["ValueError", ids["shop:fail"]],
        f"/dead/{ids['shop:fail']}": ["Timeline", "Why it was given up", "no leek for ada", "Attempts", "retried"],
        "/tasks": ["shop:add", "shop:login"],
        "/tasks/shop:add": ["Run p95", "SUCCESS"],
        "/workers": ["in flight", "heard of"],
        "/schedules": ["every-hour", "every 1 h"],
        "/schedules/every-hour": ["Next runs", "a program, at run time"],
        "/limits": ["stripe", "allowsrunningwaiting", "1 at once for each key 1 1"],
        "/limits/stripe": ["acme", ids["running"], "running1waiting1"],
        "/graphs": [ids["graph"], "shop:add"],
        f"/graphs/{ids['graph']}": ["shop:later", "WAITING"],
        "/history": ["shop:add", ids["shop:fail"]],
        "/audit": ["pause", 'queue "mail"', "ada", "10.0.0.7"],
    }
    async with site(populated.place, settings=populated.settings) as client:
        for path, words in expected.items():
            text = await text_of(client, path)
            for word in words:
                assert word in text, f"{path} does not say {word!r}: {text}"


async def test_the_jobs_of_a_key_are_found_and_no_action_is_offered_that_would_mean_others(
    populated: Populated,
) -> None:
    task = populated.app.register_task(len, name="shop:invoice", key="order-{obj}", queue="nobody")
    sent = [task.apply_async(number) for number in ("7", "8")]
    await populated.app.flush()

    async with site(populated.place, settings=populated.settings) as client:
        page = (await client.get("/jobs?task=shop:invoice&key=order-7")).text
        assert sent[0].id in page and sent[1].id not in page
        assert "all that match" not in page
        assert "all that match" in (await client.get("/jobs?task=shop:invoice")).text
        assert "name the task" in await text_of(client, "/jobs?key=order-7", 400)


async def test_a_job_that_runs_shows_how_far_it_is_and_what_it_has_saved(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:

        async def is_shown() -> bool:
            text = await text_of(client, f"/jobs/{populated.ids['running']}")
            return all(word in text for word in ("3 of 10", "pages", "checkpoint"))

        await wait_until_async(is_shown, description="the page shows what the job has reported")


class Traced(Middleware):
    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        call.headers["traceparent"] = f"00-{'ab' * 16}-{'cd' * 8}-01"
        yield


async def test_a_job_shows_the_trace_that_it_is_part_of(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url, middleware=[Traced()])
    async with app, site(Place(app_name, own_server.url)) as client:
        sent = app.s("shop:render").apply_async()
        await sent.sent()
        assert "ab" * 16 in await text_of(client, f"/jobs/{sent.id}")


async def test_an_error_has_the_way_to_the_other_pages(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        for path, status in (("/jobs/unknown", 404), ("/nothing", 404), ("/jobs?status=nonsense", 400)):
            answer = await client.get(path)
            page = read(answer.text)
            assert answer.status_code == status and "/queues" in page.links(), path


async def test_a_running_job_shows_how_it_runs_and_since_when(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:

        async def is_shown() -> bool:
            text = await text_of(client, f"/jobs/{populated.ids['running']}")
            return "until it ran" in text and "runs for" in text and "started" in text

        await wait_until_async(is_shown, description="the host has reported the job", timeout=60)


def test_the_timeline_has_the_runs_that_others_followed() -> None:
    sent = 1_700_000_000.0
    trail = [[sent + 2, "h.1", "retried", "ValueError"], [sent + 5, "h.2", "died", "signal 9"]]
    ended = {"sent_at": sent, "trail": trail, "started_at": sent + 6, "finished_at": sent + 10, "attempt": 3}
    bars = timeline({**ended, "status": "SUCCESS", "worker": "h.3"}, sent + 60)
    assert [(bar.label, bar.kind, bar.at - sent) for bar in bars] == [
        ("retried", "bad", 0),
        ("died", "bad", 2),
        ("waited", "warn", 5),
        ("run 3", "good", 6),
    ]
    assert [round(bar.start) for bar in bars] == [0, 200, 500, 600] and round(bars[-1].width) == 400
    assert bars[1].words == "h.2 · 3.0 s with its wait"

    # A job whose processes have died was not run once more: its end is that of the last of them.
    given_up = timeline({"sent_at": sent, "finished_at": sent + 5, "trail": trail, "status": "FAILED"}, sent + 60)
    assert [bar.label for bar in given_up] == ["retried", "died"]
    waits = timeline({"sent_at": sent, "status": "PENDING"}, sent + 60)
    assert [(bar.label, bar.words) for bar in waits] == [("waits", "1 min")]


async def test_programs_read_numbers(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        text = (await client.get("/metrics")).text
        assert f'aiotask_queue_pending{{app="{populated.app.name}",queue="mail"}} 1' in text
        assert f'aiotask_queue_paused{{app="{populated.app.name}",queue="mail"}} 1' in text
        found = (await client.get("/series.json?range=1h")).json()
        assert found["step"] == 60 and len({len(found[name]) for name in found if name not in ("step", "marks")}) == 1
        assert (await client.get("/series.json?range=2y")).status_code == 400


async def test_arguments_whose_names_sound_secret_are_hidden(populated: Populated) -> None:
    path = f"/jobs/{populated.ids['login']}"
    async with site(populated.place, settings=populated.settings) as client:
        text = await text_of(client, path)
        whole = (await client.get(f"{path}/arguments.txt")).text
        assert "password=•••" in text and "hunter22" not in text
        assert "•••" in whole and "hunter22" not in whole

    settings = Settings(result_db=populated.settings.result_db, hide_arguments=True)
    async with site(populated.place, settings=settings) as client:
        text = await text_of(client, path)
        assert "Arguments and results are not shown here" in text and "ada" not in text.partition("Arguments")[2]
        assert (await client.get(f"{path}/arguments.txt")).status_code == 404


async def test_an_app_of_this_process_is_shown_with_its_own_secret(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url, secret="of this app alone")
    await send(app, "shop:render")
    async with site(app) as client:
        assert "shop:render" in await text_of(client, "/jobs")
    async with site(Place(app_name, own_server.url)) as client:
        assert "sealed with another secret" in await text_of(client, "/jobs")


async def test_several_apps_are_told_apart(own_server: PrivateServer, app_name: str) -> None:
    for name in ("one", "two"):
        await send(App(f"{app_name}-{name}", url=own_server.url), f"shop:{name}")
    async with site(Place(None, own_server.url)) as client:
        first, second = await text_of(client, "/jobs"), await text_of(client, f"/jobs?app={app_name}-two")
        page = read((await client.get(f"/jobs?app={app_name}-two")).text)
        unknown = await text_of(client, "/jobs?app=three", 400)
    assert "shop:one" in first and "shop:two" not in first
    assert "shop:two" in second and "shop:one" not in second
    assert all(f"app={app_name}-" in link for link in page.links() if link.startswith("/jobs"))
    assert 'There is no app "three" here' in unknown


async def test_a_server_without_apps_is_no_error_of_the_dashboard(own_server: PrivateServer) -> None:
    async with site(Place(None, own_server.url)) as client:
        assert "No app has used this server yet" in await text_of(client, "/", 400)


async def test_a_page_that_has_not_changed_is_not_sent_again(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        path = "/limits"
        part = await client.get(path, headers={"x-part": "main"})
        assert part.status_code == 200 and "<html" not in part.text and 'id="app"' in part.text
        again = await client.get(path, headers={"x-part": "main", "if-none-match": part.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await populated.app.pause(queue="sums")
        await populated.app.s("shop:new").apply_async().sent()
        whole = await client.get(path)
        assert whole.headers["etag"] != part.headers["etag"]


async def test_what_was_asked_for_is_clamped(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        for query in ("limit=100000", "limit=-1", "limit=x", "limit=9999999999999999999", "back=" + "x" * 5000):
            assert (await client.get(f"/jobs?{query}")).status_code == 200
        for name in ("q", "task", "queue", "prefix", "key", "after"):
            assert "Give" in await text_of(client, f"/jobs?{name}=" + "x" * 501, 400)
        assert (await client.get("/jobs?status=nonsense")).status_code == 400
        assert (await client.get("/jobs?after=nonsense")).status_code == 400
        assert (await client.get("/jobs?since=yesterday-ish")).status_code == 400
        assert (await client.get("/jobs/" + "x" * 201)).status_code == 404
        assert (await client.get("/nothing")).status_code == 404
        large = await client.post("/do/cancel", data={"on": "job", "id": "x" * 70_000})
        assert large.status_code == 413
        endless = await client.post("/do/cancel", content=b"x", headers={**FORM, "content-length": "9" * 5000})
        assert endless.status_code == 413
        many = await client.post("/do/cancel", content="&".join(f"a{n}=1" for n in range(2000)), headers=FORM)
        assert many.status_code == 400
        other = await client.post("/do/cancel", json={"id": "x"})
        assert other.status_code == 415


FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_pages_follow_each_other(populated: Populated) -> None:
    for number in range(120):
        populated.app.named("shop:many", queue="unread").apply_async(number)
    await populated.app.flush()
    seen: list[str] = []
    async with site(populated.place, settings=populated.settings) as client:
        path = "/jobs?queue=unread&limit=50"
        for _ in range(10):
            page = read((await client.get(path)).text)
            seen += [link for link in page.links() if link.startswith("/jobs/")]
            following = [each["href"] for tag, each in page.tags if tag == "a" and each.get("rel") == "next"]
            if not following:
                break
            [path] = following
    assert len(seen) == len(set(seen)) == 120


async def test_find_leads_to_what_was_meant(populated: Populated) -> None:
    ids = populated.ids
    targets = {
        ids["pending"]: f"/jobs/{ids['pending']}",
        ids["shop:fail"]: f"/jobs/{ids['shop:fail']}",
        "add": "/tasks/shop%3Aadd",
        "mail": "/queues/mail",
        "leek": "/jobs?q=leek",
        "": "/jobs",
    }
    async with site(populated.place, settings=populated.settings) as client:
        for text, target in targets.items():
            answer = await client.get("/find", params={"q": text})
            assert (answer.status_code, answer.headers["location"]) == (303, target)


async def test_a_dead_server_is_told_and_forgotten_once_it_is_back(own_server: PrivateServer, app_name: str) -> None:
    await send(App(app_name, url=own_server.url), "shop:render")
    async with site(Place(app_name, own_server.url)) as client:
        assert (await client.get("/jobs")).status_code == 200
        own_server.kill()
        gone = await client.get("/jobs", headers={"x-part": "main"})
        assert gone.status_code == 503 and "cannot be reached" in gone.text
        own_server.start()
        assert (await client.get("/jobs")).status_code == 200


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_a_theme_is_kept_in_a_cookie(populated: Populated, theme: str) -> None:
    async with site(populated.place) as client:
        answer = await client.post("/theme", data={"theme": theme, "back": "//evil.example/"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert f'data-theme="{theme}"' in (await client.get("/")).text


async def test_readers_see_no_buttons_and_read_only_has_no_verb(populated: Populated) -> None:
    def acts(text: str) -> list[Any]:
        return [each for tag, each in read(text).tags if "/do/" in each.get("action", "") + each.get("formaction", "")]

    pages = [
        "/",
        "/queues",
        "/jobs",
        "/dead",
        "/tasks",
        "/schedules",
        "/limits/stripe",
        f"/jobs/{populated.ids['line']}",
    ]
    async with site(populated.place, settings=populated.settings) as client:
        assert all([acts((await client.get(page)).text) for page in pages])
    async with site(populated.place, as_visitor("read"), populated.settings) as client:
        for page in pages:
            text = (await client.get(page)).text
            assert [each for each in acts(text) if each.get("id") != "selected"] == [], page
    settings = Settings(allow=frozenset(), result_db=populated.settings.result_db)
    async with site(populated.place, as_visitor("act"), settings) as client:
        for page in pages:
            assert acts((await client.get(page)).text) == []
        for verb in Verb:
            assert (await client.post(f"/do/{verb}", data={"on": "job", "id": "x"})).status_code == 403
    assert ACTS


async def test_a_deploy_is_marked_and_a_task_is_compared_before_and_after(populated: Populated) -> None:
    await deploy(populated.app, "shop:add", "v<2>")
    async with site(populated.place, settings=populated.settings) as client:
        text = (await client.get("/tasks/shop:add")).text
        assert text.count('<line class="deploy"') == 2 and "v&lt;2&gt;</text>" in text
        said = read(text).text
        assert "Before and after a deploy" in said and "since then" in said and "release v<2>" in said
        found = (await client.get("/series.json")).json()
        assert [release for _, release in found["marks"]] == ["v<2>"]
        assert "%" in read((await client.get("/workers")).text).text
