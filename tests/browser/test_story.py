"""The dashboard in a browser: an operator's story, and what must hold on every page."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ..helpers import wait_until
from .chromium import Chromium, Tab
from .conftest import Service

#: Where pictures of every page are kept, for people to look at.
PICTURES = Path(os.environ.get("AIOTASK_TEST_PICTURES", ""))
PATHS = [
    *("/", "/jobs", "/running", "/queues", "/queues/reading", "/dead", "/tasks", "/tasks/shop:read", "/workers"),
    *("/graphs", "/schedules", "/schedules/shop:report", "/limits", "/limits/sums", "/history", "/audit"),
    *("/jobs?status=failed&queue=reading", "/bulk?verb=replay&task=shop:read"),
]


def clean(tab: Tab, service: Service) -> None:
    """No message on the console, no report of the policy, and no request to another server."""
    assert tab.complaints() == []
    foreign = [url for url in tab.requests() if not url.startswith((service.base, "about:", "data:"))]
    assert not foreign


def test_an_operator_finds_what_failed_mends_it_and_replays_it(chromium: Chromium, service: Service) -> None:
    id = service.mendable
    tab = chromium.tab()
    tab.open(f"{service.base}/")
    tab.wait("document.body.innerText.includes('FileNotFoundError')", "the overview tells of the error")
    # By keys: go to the dead letters, to the first row, and open it.
    tab.press("g", "d")
    tab.wait(f"document.body.innerText.includes({json.dumps(id)})", "the dead letters are there")
    tab.wait("document.documentElement.classList.contains('scripted')", "the script runs")
    delete = "document.querySelector('#discard-selected')"
    assert tab.run(f"{delete}.inert") is True
    tab.run(f"[...document.querySelectorAll('input[name=id]')].find(box => box.value === {json.dumps(id)}).click()")
    tab.wait("document.querySelector('[data-selected]').textContent === '1'", "one is selected")
    assert tab.run("document.querySelector('[data-key=R]').disabled") is False
    assert tab.run(f"{delete}.inert") is False

    (service.directory / "a").write_text("leek")
    tab.press("R")
    tab.wait("!!document.querySelector('dialog[open]')", "it asks once")
    tab.leaving(lambda: tab.press("Enter"))
    tab.wait("document.body.innerText.includes('Replayed: 1 dead letter.')", "it says what it did")
    wait_until(lambda: service.app.result(id).get(timeout=60) == "leek", description="the job has its value")
    tab.open(f"{service.base}/jobs/{id}")
    tab.wait("document.body.innerText.includes('SUCCESS') && document.body.innerText.includes('leek')", "it ended well")
    tab.open(f"{service.base}/audit")
    assert "replay" in tab.text("tbody") and id in tab.text("tbody")
    clean(tab, service)


def test_a_queue_is_paused_with_a_reason_and_resumed(chromium: Chromium, service: Service) -> None:
    tab = chromium.tab()
    tab.open(f"{service.base}/queues/reading")
    tab.press("P")
    tab.wait("document.activeElement.name === 'why'", "it asks why")
    tab.type("the disk is full")
    tab.leaving(lambda: tab.press("Enter"))
    assert "Paused: queue" in tab.text() and "the disk is full" in tab.text()
    assert [pause.why for pause in _pauses(service)] == ["the disk is full"]
    tab.leaving(lambda: tab.click("header button.btn.pri"))
    assert "Resumed: queue" in tab.text() and _pauses(service) == []
    clean(tab, service)


def _pauses(service: Service) -> list[object]:
    import asyncio

    from aiotask.ops.connection import Place, inspectors
    from aiotask.ops.pauses import pauses_of

    async def read() -> list[object]:
        async with inspectors(Place(service.app.name, service.app.url)) as (connection,):
            return list(await pauses_of(connection))

    return asyncio.run(read())


def test_what_the_reader_does_survives_ten_polls(chromium: Chromium, service: Service) -> None:
    tab = chromium.tab(hurry=5)
    rows = "document.querySelectorAll('input[name=id]').length"

    def recorded() -> bool:
        tab.open(f"{service.base}/jobs?status=success&task=shop:render&limit=200")
        return bool(tab.run(rows) >= 20)

    wait_until(recorded, description="the history has some")
    first = tab.run(rows)
    tab.run("document.querySelectorAll('input[name=id]')[1].click()")
    selected = tab.run("document.querySelectorAll('input[name=id]')[1].value")
    tab.run("document.querySelectorAll('tr[data-row] a[data-open]')[2].focus()")
    tab.run("document.querySelector('.wrap').scrollIntoView()")
    polls = "performance.getEntriesByType('resource').filter(each => each.initiatorType === 'fetch').length"
    before, seen = tab.run(polls), tab.run("[scrollY, document.activeElement.href]")
    for tile in range(40):
        service.app.s("shop:render", tile).apply_async()
    tab.wait(f"{polls} >= {before} + 10 && {rows} > {first}", "it has asked ten times, and shows new ones above")

    assert tab.run("document.activeElement.href") == seen[1]
    assert tab.run("document.querySelector('[data-selected]').textContent") == "1"
    # The same job is selected, wherever its row is by now.
    assert tab.run("[...document.querySelectorAll('input[name=id]:checked')].map(box => box.value)") == [selected]
    # What is held stays as it is, and goes on.
    tab.press("p")
    assert "held" in tab.text("[data-live]")
    tab.press("p")
    tab.wait("document.querySelector('[data-live]').textContent.startsWith('live')", "it goes on")
    clean(tab, service)


def test_it_greys_what_it_no_longer_knows_and_goes_on(chromium: Chromium, service: Service) -> None:
    tab = chromium.tab(hurry=5)
    tab.open(f"{service.base}/queues")
    tab.wait("document.querySelector('main').innerText.includes('reading')", "it shows what was counted after the jobs")
    service.web.send_signal(signal.SIGSTOP)
    try:
        tab.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        tab.wait("document.documentElement.classList.contains('stale')", "it says that nothing answers")
        assert "reading" in tab.text("main")
    finally:
        service.web.send_signal(signal.SIGCONT)
    tab.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    tab.wait("!document.documentElement.classList.contains('stale')", "it goes on")


def test_pages_are_whole_without_a_script(chromium: Chromium, service: Service) -> None:
    id = service.dead
    tab = chromium.tab(scripts=False)
    for path in PATHS:
        tab.open(service.base + path)
        size = tab.call("Page.getLayoutMetrics")["cssContentSize"]
        assert size["height"] > 300, path
    tab.open(f"{service.base}/dead/{id}")
    # The question opens, and the form works, without a line of script.
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert tab.run("document.documentElement.classList.contains('scripted')") is False
    assert tab.run("document.querySelectorAll('form[action*=\"/do/\"]').length") >= 2
    tab.call("Emulation.setScriptExecutionDisabled", value=True)


def first_link(tab: Tab, service: Service, page: str) -> str:
    """Where the first row of a page leads to."""
    tab.open(service.base + page)
    link = f"document.querySelector('main a[href^=\"{page}/\"]')"
    tab.wait(f"!!{link}", f"{page} has a row")
    return str(tab.run(f"{link}.getAttribute('href')"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_accessible_at_every_width(
    chromium: Chromium, service: Service, axe: str, dark: bool, is_full: bool
) -> None:
    """With --full each theme has each width; without it the light one the narrowest and the dark one the widest."""
    id, died, graph = service.dead, service.died, service.graph
    paths = [*PATHS, f"/jobs/{id}", f"/dead/{id}", f"/jobs/{died}", f"/dead/{died}", f"/jobs/{graph}"]
    wrong = []
    for width in (1440, 768, 390) if is_full else (1440,) if dark else (390,):
        tab = chromium.tab(width=width, dark=dark, source=axe)
        for path in [*paths, *(first_link(tab, service, page) for page in ("/workers", "/graphs"))]:
            tab.open(service.base + path)
            found = tab.run(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
                ".then(done => done.violations.map(each => `${each.id}: ${each.nodes[0].html}`))"
            )
            wrong += [f"{path} at {width}: {each[:300]}" for each in found]
            if tab.run("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path} at {width} is wider than the window")
            if PICTURES.name:
                name = f"{path.strip('/').replace('/', '-') or 'overview'}-{width}-{'dark' if dark else 'light'}.png"
                tab.screenshot(PICTURES / name.replace("?", "-").replace(":", "-").replace("&", "-"))
        clean(tab, service)
    assert not wrong, "\n".join(wrong)
