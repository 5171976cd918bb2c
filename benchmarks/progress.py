"""How far the measurements are: a bar for each on a terminal, a line for each elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["Bar", "Bars"]


class Bar:
    """One measurement under way. On its own it shows nothing."""

    def __init__(self, name: str, bars: Progress | None = None) -> None:
        self._bars = bars
        self._row = bars.add_task(name, total=None, doing="") if bars else None
        self._steps = self._done = 0

    def expect(self, steps: int) -> None:
        """So many more steps are to come."""
        self._steps += steps
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, total=self._steps)

    def step(self) -> None:
        """One of them is done."""
        self._done += 1
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, completed=self._done)

    def tell(self, doing: str) -> None:
        """What goes on."""
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, doing=doing)

    def end(self) -> None:
        self.tell("")
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, total=max(1, self._done), completed=max(1, self._done))
            self._bars.stop_task(self._row)


class Bars:
    """All of them, on stderr, so that the figures alone are on stdout."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[doing]}"),
        )
        self._bars = (
            Progress(SpinnerColumn(finished_text="✓"), *columns, console=console) if console.is_terminal else None
        )
        self._open: Bar | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close(ended=kind is None)
        if self._bars is not None:
            self._bars.stop()

    def begin(self, name: str) -> Bar:
        """The next measurement; the one before it has ended."""
        self._close(ended=True)
        self._open, self._since = Bar(name, self._bars), time.monotonic()
        if self._bars is None:
            print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        return self._open

    def _close(self, *, ended: bool) -> None:
        if self._open is not None and ended:
            self._open.end()
            if self._bars is None:
                print(f"{time.monotonic() - self._since:.0f} s", file=sys.stderr)
        self._open = None
