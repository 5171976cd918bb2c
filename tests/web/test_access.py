"""Who may look and act: routes by roles by methods, logins, other sites, other names, and headers."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from aiotask import App
from aiotask.contrib.web import ACTS, Local, Proxied, Settings, Users, Visitor, dashboard
from aiotask.contrib.web.pages import PAGES
from aiotask.contrib.web.serve import Prefixed, access_for
from aiotask.contrib.web.users import UsersFile, line_of
from aiotask.errors import ConfigError
from aiotask.ops.audit import read_audit
from aiotask.ops.connection import Place
from aiotask.ops.visitors import Verb

from .site import OWN, as_visitor, read, site

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PATHS = [path.replace("{name:path}", "x").replace("{id:path}", "x").replace("{id}", "x") for path in PAGES]


@pytest.fixture
async def place(redis_url: str, app_name: str) -> Place:
    app = App(app_name, url=redis_url)
    async with app:
        await app.named("shop:render", queue="tiles").apply_async(7).sent()
    return Place(app_name, redis_url)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.txt"
    file.write_text(
        f"# who may look\n{line_of('ada', 'correct horse', 'act')}\n{line_of('bob', 'battery staple', 'read')}\n"
    )
    return file


# ---- routes by roles by methods


async def test_nobody_sees_anything_without_being_known(place: Place) -> None:
    async with site(place, as_visitor("nobody")) as client:
        for path in [*PATHS, "/do/cancel", "/theme", "/nothing"]:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                answer = await client.request(method, path)
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/favicon.ico")).status_code == 200
        for path in ("/healthz/x", "/healthzx", "/static/../jobs", "/staticx", "/favicon.ico/"):
            assert (await client.get(path)).status_code in (401, 404), path


@pytest.mark.parametrize("role", ["read", "act"])
async def test_pages_are_read_and_verbs_are_posted(place: Place, role: str) -> None:
    async with site(place, as_visitor(role)) as client:
        for path in PATHS:
            assert (await client.get(path)).status_code in (200, 303, 400, 404), path
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                assert (await client.request(method, path)).status_code == 405, f"{method} {path}"
        for verb in Verb:
            assert (await client.get(f"/do/{verb}")).status_code == 405
            # Nothing is selected, so nothing is done: who may act is told that, who may not is refused.
            answer = await client.post(f"/do/{verb}", data=FORMS[verb])
            assert (answer.status_code == 403) == (role == "read"), f"{verb}: {answer.status_code} {answer.text[:300]}"


FORMS = {
    Verb.PAUSE: {"on": "queue", "name": "nowhere"},
    Verb.RESUME: {"on": "queue", "name": "nowhere"},
    Verb.PURGE: {"on": "queue", "name": "nowhere", "typed": "nowhere"},
    Verb.CANCEL: {"on": "job", "id": "unknown"},
    Verb.RUN_NOW: {"on": "job", "id": "unknown"},
    Verb.RESEND: {"on": "job", "id": "unknown"},
    Verb.REPLAY: {"on": "letter", "id": "unknown"},
    Verb.DISCARD: {"on": "letter", "id": "unknown", "typed": "delete"},
    Verb.REMOVE: {"on": "schedule", "name": "unknown", "typed": "unknown"},
    Verb.SET_LIMIT: {"name": "unknown", "numbers": "max_running=1"},
    Verb.RESET_LIMIT: {"name": "unknown"},
    Verb.STACKS: {"on": "all"},
    Verb.MOVE: {"on": "job", "id": "unknown", "to": "slow"},
    Verb.DRAIN: {"on": "host", "name": "unknown"},
    Verb.RECYCLE: {"on": "host", "name": "unknown"},
}


async def test_allow_takes_verbs_away_from_everybody(place: Place) -> None:
    settings = Settings(allow=frozenset({Verb.PAUSE}))
    async with site(place, as_visitor("act"), settings) as client:
        assert (await client.post("/do/pause", data=FORMS[Verb.PAUSE])).status_code == 303
        refused = await client.post("/do/cancel", data=FORMS[Verb.CANCEL])
        assert refused.status_code == 403 and "may not cancel. Allowed: pause" in refused.text
    lines = await read_audit(place, 10)
    assert [(line["verb"], line["ended"]) for line in lines] == [("cancel", "refused"), ("pause", "done")]


async def test_a_flood_of_refusals_leaves_the_actions_in_the_audit(place: Place) -> None:
    async with site(place) as client:
        assert (await client.post("/do/pause", data=FORMS[Verb.PAUSE])).status_code == 303
        for _ in range(120):
            foreign = await client.post("/do/pause", data=FORMS[Verb.PAUSE], headers={"sec-fetch-site": "cross-site"})
            assert foreign.status_code == 403
    async with site(place, as_visitor("read"), Settings()) as client:
        for _ in range(12):
            assert (await client.post("/do/cancel", data=FORMS[Verb.CANCEL])).status_code == 403
    async with site(place, as_visitor("act"), Settings(allow=frozenset())) as client:
        assert (await client.post("/do/cancel", data=FORMS[Verb.CANCEL])).status_code == 403
    lines = await read_audit(place, 100)
    assert [(line["verb"], line["said"]) for line in reversed(lines)] == [
        ("pause", ""),
        ("pause", "came from another site"),
        ("pause", "came from another site; 10 times by now"),
        ("pause", "came from another site; 100 times by now"),
        ("cancel", ""),
        ("cancel", "10 times by now"),
        ("cancel", "the dashboard is read-only"),
    ]


# ---- other sites, other names


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost:8787"}, False),
        ({"sec-fetch-site": "", "origin": "http://localhost:8787"}, True),
        ({"sec-fetch-site": "", "origin": "http://localhost:9999"}, False),
        ({"sec-fetch-site": "", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "", "origin": "null"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"sec-fetch-site": "cross-site", "authorization": "Basic eA=="}, False),
        ({"sec-fetch-site": "cross-site", "authorization": "Bearer eA=="}, True),
    ],
)
async def test_only_this_site_acts(
    place: Place, headers: dict[str, str], is_own: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(place) as client:
        # A refusal waits only for a moment for a server that is not connected yet.
        assert (await client.get("/")).status_code == 200
        answer = await client.post("/do/pause", data={"on": "queue", "name": "tiles"}, headers=headers)
    assert answer.status_code == (303 if is_own else 403)
    [line] = await read_audit(place, 10)
    assert (line["verb"], line["ended"]) == ("pause", "done" if is_own else "refused")
    assert is_own or (line["said"], line["source"]) == ("came from another site", "10.0.0.7")
    told = [record for record in caplog.records if record.name == "aiotask.audit" and record.levelno == logging.WARNING]
    assert bool(told) != is_own


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost:8787", True),
        ("127.0.0.1", True),
        ("127.0.0.2:80", True),
        ("[::1]:8787", True),
        ("app.localhost", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("", False),
        ("[", False),
    ],
)
async def test_a_local_dashboard_answers_under_names_of_this_machine(place: Place, host: str, is_own: bool) -> None:
    async with site(place, Local(), Settings(loopback=True)) as client:
        for path in ("/", "/healthz"):
            assert (await client.get(path, headers={"host": host})).status_code == (200 if is_own else 421)


async def test_every_answer_has_careful_headers(place: Place) -> None:
    async with site(place) as client:
        for path in ("/", "/nothing", "/healthz", "/jobs/x", "/favicon.ico", "/static/x/app.js"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in headers
            assert path == "/favicon.ico" or headers["cache-control"] == "no-store"


# ---- users


async def log_in(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    return await client.post("/login", data={"name": name, "password": password})


async def test_users_log_in_with_a_form(place: Place, users: Path) -> None:
    async with site(place, Users(str(users), ["secret"])) as client:
        away = await client.get("/jobs")
        assert (away.status_code, away.headers["location"]) == (303, "/login")
        assert "Password" in read((await client.get("/login")).text).text
        wrong = await log_in(client, "ada", "wrong horse")
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers and "not right" in wrong.text

        done = await log_in(client, "ada", "correct horse")
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "max-age=43200" in cookie
        assert "ada" in read((await client.get("/jobs")).text).text
        assert (await client.post("/do/pause", data={"on": "queue", "name": "tiles"})).status_code == 303
        line, wrong_password = await read_audit(place, 10)
        assert (line["who"], line["source"]) == ("ada", "10.0.0.7")
        assert (wrong_password["verb"], wrong_password["who"], wrong_password["ended"]) == ("log in", "ada", "refused")

        await client.post("/logout")
        assert (await client.get("/jobs")).status_code == 303
        await log_in(client, "bob", "battery staple")
        assert (await client.post("/do/pause", data={"on": "queue", "name": "tiles"})).status_code == 403


async def test_a_session_ends_with_the_line_of_its_user(place: Place, users: Path) -> None:
    access = Users(str(users), ["secret"])
    async with site(place, access) as client:
        await log_in(client, "ada", "correct horse")
        assert (await client.get("/jobs")).status_code == 200
        kept = client.cookies["aiotask_session"]
        client.cookies.clear()

        async def status(cookie: str) -> int:
            return (await client.get("/jobs", headers={"cookie": f"aiotask_session={cookie}"})).status_code

        assert await status(kept) == 200
        bob = base64.b64encode(b"bob").decode()
        for forged in (kept[:-10], f"{kept.partition('.')[0]}.{bob}", f"x{kept}", "x.y", "", "." * 50, "%00"):
            assert await status(forged) == 303, forged
        users.write_text(f"{line_of('ada', 'another horse', 'act')}\n")
        assert await status(kept) == 303


async def test_too_many_wrong_passwords_end_the_tries(place: Place, users: Path) -> None:
    async with site(place, Users(str(users), ["secret"])) as client:
        answers = [(await log_in(client, "ada", "wrong horse")).status_code for _ in range(6)]
        assert answers == [401, 401, 401, 401, 429, 429]
        assert (await log_in(client, "ada", "correct horse")).status_code == 429
        assert (await log_in(client, "bob", "battery staple")).status_code == 303


@pytest.mark.parametrize("kind", ["Bearer", "Basic"])
async def test_wrong_passwords_in_a_header_count_as_those_of_the_form(place: Place, users: Path, kind: str) -> None:
    def given(text: str) -> dict[str, str]:
        return {"authorization": f"{kind} {base64.b64encode(text.encode()).decode()}"}

    async with site(place, Users(str(users), ["secret"])) as client:
        answers = [await client.get("/jobs", headers=given("ada:wrong horse")) for _ in range(6)]
        assert [each.status_code for each in answers] == [401, 401, 401, 401, 429, 429]
        assert answers[0].text == "This name and password are not right.\n"
        right = await client.get("/jobs", headers=given("ada:correct horse"))
        assert (right.status_code, right.text) == (429, "Too many wrong passwords. Try again in a minute.\n")
        assert (await client.get("/jobs", headers=given("bob:battery staple"))).status_code == 200
    # The first one is a line; further ones of its kind are told in few.
    [line] = await read_audit(place, 10)
    assert (line["who"], line["source"], line["verb"], line["ended"]) == ("ada", "10.0.0.7", "log in", "refused")


async def test_a_visitor_without_a_source_comes_from_the_address_of_the_request(place: Place) -> None:
    async with site(place, lambda scope: Visitor("ada", ACTS)) as client:
        assert (await client.post("/do/pause", data=FORMS[Verb.PAUSE])).status_code == 303
    [line] = await read_audit(place, 10)
    assert (line["ended"], line["source"]) == ("done", "10.0.0.7")


async def test_programs_send_a_header(place: Place, users: Path) -> None:
    def packed(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    async with site(place, Users(str(users), ["secret"])) as client:
        for kind in ("Bearer", "Basic"):
            for _ in range(2):
                known = await client.get("/jobs", headers={"authorization": f"{kind} {packed('ada:correct horse')}"})
                assert known.status_code == 200
        for wrong in (
            "Bearer " + packed("ada:wrong horse"),
            "Bearer x",
            "Digest " + packed("ada:correct horse"),
            "Bearer",
        ):
            assert (await client.get("/jobs", headers={"authorization": wrong})).status_code == 401
        bearer = {"authorization": f"Bearer {packed('ada:correct horse')}", "sec-fetch-site": ""}
        done = await client.post("/do/pause", data={"on": "queue", "name": "tiles"}, headers=bearer)
        assert done.status_code == 303


@pytest.mark.parametrize(
    "line",
    [
        "ada",
        "ada:x:act",
        "ada:1.8.1.YQ==.YQ==:act",
        "a:b:c:d",
        "ada:16384.8.1.YQ==.YQ==:act",
        "ada:3.8.1.YQ==.YQ==:act",
        "",
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match="users file"):
        UsersFile(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        UsersFile(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("name", "password", "role"), [("a:b", "long enough", "act"), ("a", "short", "act"), ("a", "long enough", "x")]
)
def test_a_user_needs_a_name_a_password_and_a_role(name: str, password: str, role: str) -> None:
    with pytest.raises(ConfigError):
        line_of(name, password, role)


# ---- proxies, mounts, other addresses


async def test_a_proxy_is_believed_from_its_network_alone(place: Place) -> None:
    for networks, status in ((["10.0.0.0/8"], 200), (["192.168.0.0/16", "::1/128"], 401)):
        async with site(place, Proxied("X-User", networks)) as client:
            assert (await client.get("/jobs", headers={"x-user": "ada"})).status_code == status
            assert (await client.get("/jobs")).status_code == 401
            two = [("x-user", "ada"), ("x-user", "eve")]
            assert (await client.get("/jobs", headers=two)).status_code == 401
    for networks in ([], ["x"]):
        with pytest.raises(ConfigError, match="--from"):
            Proxied("X-User", networks)


async def test_it_is_mounted_into_an_app(place: Place) -> None:
    made = dashboard(place, access=lambda scope: Visitor("ada", ACTS))
    for app in (Starlette(routes=[Mount("/jobs", made)]), Prefixed(made, "/jobs")):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example", headers=OWN) as client:
            page = read((await client.get("/jobs/")).text)
            assert all(link.startswith("/jobs/") for link in page.links() if not link.startswith("#"))
            for tag, each in page.tags:
                for name in ("src", "href"):
                    if tag in ("script", "link", "img") and name in each:
                        assert (await client.get(each[name])).status_code == 200, each[name]
            assert "shop:render" in read((await client.get("/jobs/jobs")).text).text
            done = await client.post("/jobs/do/pause", data={"on": "queue", "name": "tiles", "back": "/jobs/queues"})
            assert done.headers["location"].startswith("/jobs/queues?said=")
    await made.close()


async def test_access_may_be_async_and_has_no_default(place: Place) -> None:
    async def access(scope: object) -> Visitor | None:
        return Visitor("ada", ACTS)

    async with site(place, access) as client:
        assert (await client.get("/jobs")).status_code == 200
    with pytest.raises(TypeError):
        dashboard(place)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"access=None is not a function"):
        dashboard(place, access=None)  # type: ignore[arg-type]


def test_other_machines_need_a_login() -> None:
    def chosen(host: str, users: str | None = None, header: str | None = None, **more: object) -> object:
        networks = tuple(more.get("networks", ()))  # type: ignore[call-overload]
        return access_for(host, users, header, networks, insecure=bool(more.get("insecure")), secrets=())

    assert isinstance(chosen("127.0.0.1"), Local) and isinstance(chosen("::1"), Local)
    assert isinstance(chosen("0.0.0.0", insecure=True), Local)
    assert isinstance(chosen("0.0.0.0", header="X-User", networks=("10.0.0.0/8",)), Proxied)
    with pytest.raises(ConfigError, match=r"--users users\.txt"):
        chosen("0.0.0.0")
    with pytest.raises(ConfigError, match="not both"):
        chosen("0.0.0.0", users="x", header="y")
    with pytest.raises(ConfigError, match="Give both"):
        chosen("127.0.0.1", networks=("10.0.0.0/8",))


async def test_an_unprotected_dashboard_says_so_on_every_page(place: Place) -> None:
    async with site(place, Local(), Settings(unprotected=True)) as client:
        for path in ("/", "/jobs", "/audit"):
            assert "This dashboard is unprotected" in read((await client.get(path)).text).text
