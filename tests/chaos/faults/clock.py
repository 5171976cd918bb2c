"""Wall clocks that are wrong, drift and step, each for the processes that were started with it.

The monotonic clock stays what it is, as on a real machine. It takes Linux and a C compiler: the
library that stands between a process and its clock is made when it is needed.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Clock", "build", "when"]

_SETTING = struct.Struct("ddd")
_WHICH = struct.Struct("Q")


def build(directory: Path) -> Path | None:
    """The library; None where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        return None
    library = directory / "clock.so"
    source = Path(__file__).with_name("clock.c")
    built = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], capture_output=True)
    return library if built.returncode == 0 else None


@dataclass(frozen=True)
class _Setting:
    #: Monotonic: from when on it counts.
    since: float
    offset: float
    rate: float
    #: How far the clock was set back until then, all in all.
    back: float


class Clock:
    """One of them.

    Args:
        library: as ``build`` gives it.
        path: of its file.
        offset: seconds by which it is ahead.
    """

    def __init__(self, library: Path, path: Path, offset: float = 0.0) -> None:
        #: For the processes that are to have it.
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(path)}
        path.write_bytes(bytes(_WHICH.size + 2 * _SETTING.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        self._ahead = time.time() - time.monotonic()
        self._settings: list[_Setting] = [_Setting(0.0, 0.0, 0.0, 0.0)]
        self._set(offset, 0.0)
        self._settings = self._settings[1:]

    def step(self, seconds: float) -> None:
        """Ahead, or back, at once."""
        now = time.monotonic()
        self._set(self._offset(now) + seconds, self._settings[-1].rate)

    def drift(self, rate: float) -> None:
        """From now on it gains so many seconds per second."""
        self._set(self._offset(time.monotonic()), rate)

    def _set(self, offset: float, rate: float) -> None:
        now = time.monotonic()
        last = self._settings[-1]
        back = last.back + max(0.0, self._offset(now) - offset)
        which = len(self._settings)
        _SETTING.pack_into(self._page, _WHICH.size + (which & 1) * _SETTING.size, offset, rate, now)
        _WHICH.pack_into(self._page, 0, which)
        self._settings.append(_Setting(now, offset, rate, back))

    def _at(self, moment: float) -> _Setting:
        return next((each for each in reversed(self._settings) if each.since <= moment), self._settings[0])

    def _offset(self, moment: float) -> float:
        setting = self._at(moment)
        return setting.offset + setting.rate * (moment - setting.since)

    def reads(self, moment: float | None = None) -> float:
        """What it shows at this moment (monotonic; now by default), in Unix seconds."""
        moment = time.monotonic() if moment is None else moment
        return moment + self._ahead + self._offset(moment)

    def passed(self, began: float, ended: float) -> float:
        """Seconds that have passed by it between two moments; where it was set back, none."""
        return self.reads(ended) + self._at(ended).back - self.reads(began) - self._at(began).back

    def set_back(self, began: float, ended: float) -> int:
        """How often it was set back between two moments."""
        return len({each.back for each in self._settings if began < each.since <= ended} - {self._at(began).back})


def when(true: Callable[[float], bool], began: float, ended: float) -> float:
    """The first moment between two at which it is true, to the hundredth of a second; else the last."""
    moment = began
    while moment < ended and not true(moment):
        moment += 0.01
    return moment
