"""``aiotask top`` on a terminal that a test reads and types on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiotask.ops.connection import Place
from aiotask.ops.views.look import Choices

from ..helpers import wait_until_async

if TYPE_CHECKING:
    from aiotask_cli.top.app import Top

__all__ = ["Screen", "screen"]


class Screen:
    """What is on the terminal."""

    def __init__(self, top: Top, pilot: Any) -> None:
        self.top = top
        self._pilot = pilot

    @property
    def lines(self) -> list[str]:
        """The lines as they are drawn, dialogs included."""
        strips = self.top.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*({" ": "space"}.get(char, char) for char in text))

    async def shows(self, *words: str, timeout: float = 60.0) -> str:
        """Wait until all of these are there."""

        async def has() -> bool:
            await self._pilot.pause()
            return all(word in self.text for word in words)

        try:
            await wait_until_async(has, description=f"the screen shows {words}", timeout=timeout)
        except AssertionError as error:
            shown = "\n".join(line for line in self.lines if line)
            raise AssertionError(f"{error}\n{shown}") from None
        return self.text

    async def go(self, letter: str, *words: str) -> str:
        """Open a view, and wait for what it shows."""
        await self.press("g", letter)
        return await self.shows(*words)

    async def to_row(self, name: str) -> None:
        """Go to the row of this name."""
        for _ in range(200):
            rows = [line.row for line in self.top.page.lines if line.row is not None]
            names = [row.name for row in rows]
            if self.top.row is not None and self.top.row.name == name:
                return
            at = rows.index(self.top.row) if self.top.row in rows else 0
            await self.press("k" if name in names[:at] else "j")
        raise AssertionError(f"there is no row {name!r}:\n{self.text}")


@asynccontextmanager
async def screen(
    place: Place, choices: Choices | None = None, size: tuple[int, int] = (80, 24), interval: float = 0.5
) -> AsyncIterator[Screen]:
    from aiotask_cli.top.app import Top
    from aiotask_cli.top.session import Session

    top = Top(Session(place, choices or Choices()), interval)
    async with top.run_test(size=size) as pilot:
        yield Screen(top, pilot)
