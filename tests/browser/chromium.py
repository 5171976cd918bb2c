"""A headless Chromium, driven over a pipe: no driver program and no package is needed."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..helpers import wait_until

__all__ = ["Chromium", "Tab", "find_chromium"]

#: Seconds that a command, a page and a condition may take.
TIMEOUT = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-features=Translate,OptimizationHints,MediaRouter", "--hide-scrollbars", "--remote-debugging-pipe"),
)


def find_chromium() -> str | None:
    """The path of a Chromium on this machine; None: there is none."""
    return next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


def _pipe() -> tuple[int, int]:
    """A pipe with descriptors that are not those which the browser uses itself."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


class Chromium:
    """One browser process; a context of its own for each tab."""

    def __init__(self, path: str, profile: Path) -> None:
        commands, self._write = _pipe()
        self._read, answers = _pipe()
        flags = [*_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # The browser reads commands from descriptor 3 and answers on 4.
        shell = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, path, *flags],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._replies: dict[int, dict[str, Any]] = {}
        #: What each session has told of.
        self.events: dict[str, list[dict[str, Any]]] = {}

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """The result of one command.

        Raises:
            AssertionError: the browser refused it, or did not answer in time.
        """
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + TIMEOUT
        while number not in self._replies:
            self.listen(until, method)
        reply = self._replies.pop(number)
        assert "error" not in reply, f"{method}: {reply['error']}"
        result: dict[str, Any] = reply["result"]
        return result

    def listen(self, until: float, what: str) -> None:
        """Take in what the browser says next."""
        ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0.0))
        assert ready, f"the browser did not answer in time: {what}"
        chunk = os.read(self._read, 1 << 16)
        assert chunk, f"the browser has ended: {what}"
        *whole, self._rest = (self._rest + chunk).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._replies[message["id"]] = message
            else:
                self.events.setdefault(message.get("sessionId", ""), []).append(message)

    def tab(
        self,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        hurry: int = 1,
        source: str = "",
    ) -> Tab:
        """A new tab with cookies of its own.

        Args:
            scripts: whether those of the pages run.
            hurry: the timers of the pages end in this part of their time.
            source: a script that runs in each page before those of the page.
        """
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, width, height, dark, scripts)
        if hurry != 1:
            tab.run_first(f"(usual => setTimeout = (act, wait) => usual(act, wait / {hurry}))(setTimeout)")
        if source:
            tab.run_first(source)
        return tab

    def close(self) -> None:
        # It may be gone before it has answered.
        with contextlib.suppress(AssertionError, BrokenPipeError):
            self.call("Browser.close")
        for pipe in (self._write, self._read):
            os.close(pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()


class Tab:
    """One tab, and what went wrong in it."""

    def __init__(self, browser: Chromium, session: str, width: int, height: int, dark: bool, scripts: bool) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)
        self._scripts = scripts

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def run_first(self, source: str) -> None:
        """Run a script in each page that is opened from now on, before those of the page."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=source)

    # ---- looking

    def open(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        self._loaded(lambda: self.call("Page.navigate", url=url))

    def _loaded(self, act: Callable[[], object]) -> None:
        before = len(self._told("Page.loadEventFired"))
        act()
        until = time.monotonic() + TIMEOUT
        while len(self._told("Page.loadEventFired")) == before:
            self._browser.listen(until, "a page loads")

    def leaving(self, act: Callable[[], object]) -> None:
        """Do something that loads another page, and wait until it is there."""
        self._loaded(act)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script[:200]}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def text(self, selector: str = "body") -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait(self, script: str, description: str) -> Any:
        """Wait until an expression in the page is true."""

        def is_true() -> Any:
            with contextlib.suppress(AssertionError):
                return self.run(script)

        return wait_until(is_true, description=description, timeout=TIMEOUT)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write the page to a PNG file."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        more = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))

    # ---- acting

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: characters, or names such as ``Enter``."""
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}
        for key in keys:
            code, text = codes.get(key, (ord(key[0].upper()), key))
            down = {"text": text} if text else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    # ---- what went wrong

    def _told(self, *methods: str) -> list[dict[str, Any]]:
        return [each for each in self._browser.events.get(self._session, []) if each["method"] in methods]

    def complaints(self) -> list[str]:
        """Messages on the console, errors, and reports of the content security policy, since the tab is there."""
        self.run("0")
        found = self._told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded")
        return [json.dumps(each["params"])[:600] for each in found]

    def requests(self) -> list[str]:
        """The addresses that the tab has asked for."""
        return [each["params"]["request"]["url"] for each in self._told("Network.requestWillBeSent")]
