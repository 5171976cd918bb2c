"""Pills of every kind: some end their process in user code, some while their arguments are read."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from ..app import app as app
from ..app import nap as nap
from ..app import noop as noop
from ..app import pill as pill
from ..app import sync_noop as sync_noop
from ..ledger import attempt
from ..pills import WAYS as PILLS

__all__ = ["PILLS", "Bomb", "pill", "swallow"]


class Bomb:
    """Goes off where it is unpickled."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return go_off, (self.how,)


def go_off(how: str) -> None:
    if os.environ.get("CHAOS_ARMED") != "1":
        return
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(9)
    raise RuntimeError("this cannot be read")


@app.task
async def swallow(bomb: Bomb) -> str:
    with attempt() as token:
        return token
