"""The commands of ``aiotask`` under those of a web framework: ``flask aiotask …``, ``manage.py aiotask …``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from ..app import App
from ..errors import AiotaskError

__all__ = ["become_command", "become_worker"]


def become_worker(spec: str, arguments: Iterable[str]) -> NoReturn:
    """Replace this process by ``aiotask worker`` for the apps of a spec, so that signals reach its supervisor."""
    _become("worker", *arguments, spec)


def become_command(find_apps: Callable[[], Sequence[App]], arguments: Iterable[str]) -> NoReturn:
    """Replace this process by another command of ``aiotask``, which finds broker and database of the first app.

    Where that fails, the process ends with the error in one line, as commands of ``aiotask`` do.
    """
    try:
        app = find_apps()[0]
        if not app.embedded:
            os.environ["AIOTASK_URL"] = app.url
            os.environ["AIOTASK_SECRET"] = ",".join(app.secrets)
        if app.database:
            os.environ["AIOTASK_DATABASE"] = app.database.travels
    except AiotaskError as error:
        sys.exit(f"error: {error}")
    _become(*arguments)


def _become(*arguments: str) -> NoReturn:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # -P: no file of the working directory stands in for a module of Python.
    os.execv(sys.executable, [sys.executable, *flags, "-P", "-m", "aiotask", *arguments])
