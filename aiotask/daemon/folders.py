"""Where a worker was started and its code is, by names that stay when a release moves on."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from ..errors import ConfigError, ImportFailed
from .settings import WorkerSettings

__all__ = ["enter_folder", "find_folders"]


def find_folders(settings: WorkerSettings) -> WorkerSettings:
    """The same settings with folders by absolute names.

    Raises:
        ConfigError: the current directory is gone.
    """
    start = _start_directory()
    # Beyond a symbolic link ".." is not what the name says.
    is_plain = ".." not in settings.app_dir.split(os.sep)
    app_dir = os.path.normpath(os.path.join(start, settings.app_dir)) if is_plain else os.path.abspath(settings.app_dir)
    return replace(settings, app_dir=app_dir, start_dir=start if os.path.isdir(app_dir) else "")


def _start_directory() -> str:
    """As the shell names it, which may be a symbolic link: what it leads to later is what the operator means."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        gone = f' "{os.environ["PWD"]}"' if os.environ.get("PWD") else ""
        raise ConfigError(
            f"The current directory{gone} is gone. Start the worker in a directory that exists."
        ) from None
    named = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(named) and os.path.samefile(named, here):
            return named
    return here


def enter_folder(settings: WorkerSettings) -> None:
    """In a new worker process: go to where the folder of the start is by now.

    Raises:
        ImportFailed: the folder of the app was there, and is gone.
    """
    if not settings.start_dir:
        return
    if not os.path.isdir(settings.app_dir):
        raise ImportFailed(
            f'The directory "{settings.app_dir}", from which this worker loads its app, is gone: it was removed or '
            "renamed. Put it back, or start the worker with an --app-dir that stays in place, such as a symbolic "
            "link to the release."
        )
    try:
        os.chdir(settings.start_dir)
    except OSError:
        # Whatever asks for the current directory gets an answer.
        with contextlib.suppress(OSError):
            os.chdir(settings.app_dir)
