"""Takes the pictures of the dashboard that its documentation shows: ``python -m tests.browser.pictures docs/pages``.

A server, workers on two hosts and the dashboard are started, and an app that uses every feature is kept at work for
some minutes. Every page is written as a PNG of at most 128 colours if Pillow is installed. With ``--all`` every
page is written in three widths and both themes, for people who look for what is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import msgspec

from aiotask import chain, group
from aiotask.brokers import connect
from aiotask.ops.actions import Actions
from aiotask.ops.connection import Place
from aiotask.ops.visitors import ACTS, Visitor
from aiotask.parts.pausing import pause_named
from aiotask.values.metrics import Slot

from ..helpers import wait_until
from ..server import PrivateServer
from ..workers import ROOT, Workers
from . import bakery
from .chromium import Chromium, Tab, find_chromium
from .serving import serving

NAME = "bakery"
#: Widths of a desktop, a tablet and a telephone.
WIDTHS = (1440, 768, 390)
#: Pictures in the documentation beside those of a desktop in light colours.
SHOWN = {"overview-dark", "job-running-dark", "overview-390"}
_BRANCHES = ("Altona", "Barmbek", "Eppendorf", "Ottensen")


class Scene:
    """What is at work while pictures are taken, and the ids of some jobs by what they are."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ids: dict[str, str] = {}
        self._chance = random.Random(7)

    async def begin(self) -> None:
        """What is sent once: jobs that take long, graphs, schedules, a pause, and what goes wrong."""
        app, ids = bakery.app, self.ids
        bert = Actions(Place(NAME, self.url), Visitor("bert", ACTS, "10.0.0.9"))
        await bert.pause(pause_named(queue="mail", why="the provider is down"))
        await app.schedules.set("prices-of-ada", bakery.weigh.s("rye flour"), every=3600.0)
        await app.schedules.set("report-of-the-branch-in-Ottensen", bakery.weigh.s("salt"), cron="0 6 * * 1")
        ids["running"] = bakery.monthly.apply_async("November").id
        bakery.pull_branches.apply_async(list(_BRANCHES[:3]))
        bakery.words.options(ignore_result=True).apply_async("index.html")
        ids["died"] = bakery.decode.apply_async("IMG_2041.jpg").id
        ids["login"] = bakery.sign_in.apply_async("ada", password="hunter22").id
        ids["scheduled"] = bakery.weigh.options(delay=7200.0).apply_async("sugar").id
        ids["parked"] = app.named("bakery.wedding:design", queue="recipes").apply_async("three tiers").id
        for number in range(40):
            bakery.send.apply_async(f"guest-{number}@example.org", "Your order is ready")
        await app.flush()

    async def send(self, number: int) -> None:
        """One second of work."""
        chance, app = self._chance, bakery.app
        for _ in range(chance.randint(4, 9)):
            bakery.resize.apply_async(f"originals/{chance.randint(1, 9999)}.tiff", sizes=[320, 640])
        for _ in range(chance.randint(2, 5)):
            order = chance.randint(1, 99_999)
            bakery.capture.apply_async(order, branch=chance.choice(_BRANCHES), card_token="tok_4242")
        for row in range(chance.randint(3, 12)):
            total = "" if chance.random() < 0.02 else "12.50"
            bakery.import_row.apply_async({"id": str(1000 * number + row), "total": total})
        for _ in range(chance.randint(5, 11)):
            bakery.notify.apply_async("https://shop.example/hooks", {"order": number, "ready": True})
        if number % 4 == 0:
            bakery.reconcile.apply_async("a supplier of flour and other things", "2026-11-01")
            bakery.send.apply_async("ada@example.org", "Your order is ready")
        if number % 20 == 0:
            recipes = [bakery.weigh.s(each).then(bakery.price) for each in ("rye", "water", "salt", "seeds")]
            whole = group(recipes).then(bakery.total, f"bread {number}")
            if number % 60:
                whole.apply_async()
            else:
                self.ids["graph"] = whole.then(bakery.publish).apply_async().id
            chain(bakery.weigh.s("butter"), bakery.price).apply_async()
        await app.flush()

    async def block(self) -> None:
        """An async task that blocks its event loop while the pictures are taken."""
        self.ids["blocks"] = bakery.write_csv.apply_async(3600).id
        await bakery.app.flush()

    async def letter(self) -> str:
        """The id of a payment that was given up."""
        async with bakery.app.inspector() as inspector:
            letters = await inspector.letters()
        return next(each.id for each in letters if each.task == bakery.capture.name)

    async def host(self) -> str:
        async with bakery.app.inspector() as inspector:
            return min(each.host for each in await inspector.workers())

    def paths(self, failed: str, host: str) -> dict[str, str]:
        """Every page by the name of its picture."""
        ids = self.ids
        return {
            "overview": "/?range=1h",
            "queues": "/queues",
            "queue": "/queues/webhooks?range=1h",
            "queue-paused": "/queues/mail?range=1h",
            "jobs": "/jobs?limit=14",
            "jobs-failed": "/jobs?status=failed&task=bakery.payments:capture&limit=10",
            "job-running": f"/jobs/{ids['running']}",
            "job-failed": f"/jobs/{failed}",
            "job-died": f"/jobs/{ids['died']}",
            "job-ended": f"/jobs/{ids['login']}",
            "job-of-a-graph": f"/jobs/{ids['graph']}",
            "job-parked": f"/jobs/{ids['parked']}",
            "running": "/running?limit=14",
            "dead": "/dead?limit=12",
            "letter": f"/dead/{failed}",
            "letter-died": f"/dead/{ids['died']}",
            "tasks": "/tasks?range=1h",
            "task": "/tasks/bakery.payments:capture?range=1h",
            "workers": "/workers",
            "schedules": "/schedules",
            "schedule": "/schedules/bakery.stock:order",
            "limits": "/limits",
            "limit": "/limits/card-terminal",
            "host": f"/workers/{host}",
            "graphs": "/graphs",
            "graph": f"/graphs/{ids['graph']}",
            "history": "/history?limit=14",
            "audit": "/audit",
            "bulk": "/bulk?verb=cancel&status=pending&queue=mail&back=/jobs",
            "error": "/jobs/no-job-has-this-id",
        }


async def remember(url: str, minutes: int = 57) -> None:
    """Make an hour before the work out of the last minute of it, as keepers would have written that hour."""
    wire: Any = cast("Any", connect(url, NAME)).wire
    chance = random.Random(11)
    now = int(time.time() // 60)
    key = f"aiotask1:{{{NAME}}}:m:"
    model = await wire.call("HGETALL", f"{key}{now - 1}") or await wire.call("HGETALL", f"{key}{now}")
    fields = dict(zip(model[::2], model[1::2], strict=True))
    for ago in range(minutes, 2, -1):
        if await wire.call("EXISTS", f"{key}{now - ago}"):
            continue
        # A provider was away for some minutes.
        is_away = 30 < ago < 37
        share = (0.9 + 0.25 * math.sin(ago / 9) + chance.uniform(-0.05, 0.05)) * (0.45 if is_away else 1.0)
        written: list[Any] = []
        for name, packed in fields.items():
            kind = name.partition(b":")[0]
            numbers: Any = (
                packed
                if kind == b"*"
                else {b"r": {"v411": 12}}.get(kind) or msgspec.msgpack.decode(packed, strict=False)
            )
            if isinstance(numbers, dict) and kind != b"r":
                numbers = {slot: round(number * share) for slot, number in numbers.items()}
                if is_away and kind == b"t":
                    for slot in (Slot.FAILED, Slot.RETRIED):
                        numbers[slot] = numbers.get(slot, 0) + numbers.get(Slot.SUCCEEDED, 0) // 4
            written += (name, packed if kind == b"*" else msgspec.msgpack.encode(numbers))
        await wire.call("HSET", f"{key}{now - ago}", *written)
    await wire.close()


#: Puts other words in place of those that say where the pictures were taken: pairs of a pattern and a text.
_DISGUISE = """(pairs => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    for (const [from, to] of pairs) node.data = node.data.replace(new RegExp(from, "g"), to);
  }
})"""


def save(tab: Tab, path: Path) -> None:
    """Write the page as a picture, with 128 colours if Pillow is installed. It does not show the paths and the name of
    this machine."""
    machine, user = re.escape(socket.gethostname()), re.escape(getpass.getuser())
    pairs = [
        (re.escape(str(ROOT)), "/srv/bakery"),
        (r"unix:///\S+/s\b", "redis://queue.internal:6379"),
        (r"/\S+/history.db", "/var/lib/bakery/history.db"),
        (r"/tmp/aiotask-[^/]+/s\b", "queue.internal:6379"),
        (f"{user}@{machine}", "ada"),
        (rf"\b{machine}\b", "node"),
    ]
    tab.run(f"{_DISGUISE}({json.dumps(pairs)})")
    tab.screenshot(path)
    try:
        from PIL import Image
    except ModuleNotFoundError:
        pass
    else:
        with Image.open(path) as picture:
            # Of long lists the beginning is enough.
            most = picture.height if path.name.startswith("overview") else round(1.1 * max(picture.width, 1000))
            whole = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, most)))
            small = whole.quantize(128, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


async def work(scene: Scene, minutes: float, workers: Workers, env: dict[str, str]) -> None:
    """Keep the app busy; a second host comes with a new release when half of the time is over."""
    async with bakery.app:
        await scene.begin()
        until, number, second = time.monotonic() + 60 * minutes, 0, False
        while (left := until - time.monotonic()) > 0:
            await scene.send(number)
            number += 1
            if left < 30 * minutes and not second:
                second = True
                start(workers, {**env, "AIOTASK_RELEASE": "v412"}, 2)
            await asyncio.sleep(1.0)
        await remember(scene.url)
        await scene.block()
        # Hosts report every five seconds.
        for _ in range(12):
            await scene.send(number)
            await asyncio.sleep(1.0)


def start(workers: Workers, env: dict[str, str], concurrency: int) -> None:
    workers.start("tests.browser.bakery", concurrency=concurrency, env=env, wait=False)


async def take(scene: Scene, browser: Chromium, base: str, folder: Path, everything: bool, only: list[str]) -> None:
    paths = scene.paths(await scene.letter(), await scene.host())
    for dark in (False, True):
        for width in WIDTHS:
            tab = browser.tab(width=width, dark=dark)
            for name, path in paths.items():
                kind = "".join((f"-{width}" if width < 1440 else "", "-dark" if dark else ""))
                shown = f"{name}{kind}"
                if shown not in only if only else kind and shown not in SHOWN and not everything:
                    continue
                async with bakery.app:
                    await scene.send(1)
                tab.open(base + path)
                tab.run("new Promise(done => setTimeout(done, 700))")
                save(tab, folder / f"{name}{kind}.png")
                if tab.run("document.documentElement.scrollWidth > innerWidth"):
                    print(f"{path} at {width} is wider than the window")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the app works before pictures are taken")
    parser.add_argument("--all", action="store_true", help="every page in every width and both themes")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these pictures, as graph-390-dark")
    given = parser.parse_args()
    # What was started ends with this program, also where that is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("chromium is not installed.")
    server = PrivateServer("--appendonly", "yes")
    scratch = Path(tempfile.mkdtemp(prefix="aiotask-"))
    server.start()
    workers = Workers(scratch, server.url)
    env = {"AIOTASK_URL": server.url, "AIOTASK_RESULT_DB": str(scratch / "history.db")}
    os.environ.update(env)
    browser = Chromium(chromium, scratch / "chromium")
    try:
        start(workers, {**env, "AIOTASK_RELEASE": "v411"}, 3)
        with serving(NAME, env) as (base, _), serving("nothing-yet", env) as (empty, _):
            scene = Scene(server.url)
            asyncio.run(work(scene, given.minutes, workers, env))
            asyncio.run(take(scene, browser, base, given.folder, given.all, given.only))
            tab = browser.tab()
            tab.open(f"{empty}/")
            save(tab, given.folder / "empty.png")
            server.kill()
            tab = browser.tab()

            def is_told() -> bool:
                # What was read a moment ago is shown for two more seconds.
                tab.open(f"{base}/")
                return "cannot be reached" in tab.text()

            wait_until(is_told, description="the page says that the server is away", timeout=60)
            save(tab, given.folder / "no-server.png")
    finally:
        browser.close()
        for each in workers.all:
            # One of them runs a job that does not end.
            with contextlib.suppress(AssertionError):
                each.clear(timeout=20.0)
        server.remove()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
