"""Imports user modules, with errors that name the cause."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType

from ..errors import AiotaskError, ImportFailed
from .main_module import importable_name, scripts

__all__ = ["import_included", "import_module", "users_trace"]

#: The directory of aiotask, as the names of its files begin.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def import_included(names: Iterable[str]) -> None:
    """Import the modules that an app includes, for a worker in this process.

    Raises:
        ImportFailed: one of the modules cannot be imported.
    """
    # The script that runs here is imported already, as __main__.
    here = {script.name for script in scripts()}
    for name in names:
        if name not in here:
            import_module(name, sys.path[0] or os.getcwd())


def import_module(name: str, folder: str) -> ModuleType:
    """The module of this name.

    Args:
        folder: the first directory on the import path, for the error.

    Raises:
        ImportFailed: there is no such module, or it cannot be imported; with the user's part of the traceback.
    """
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise ImportFailed(_no_name(name, folder))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            asked = "" if name == missing else f', so "{name}" cannot be imported'
            raise ImportFailed(
                f'There is no module "{missing}" (looked in "{folder}" first){asked}. {_meant(name, missing)}'
            ) from None
        raise ImportFailed(
            f'Module "{name}" needs "{missing}", which is not installed here.\n{users_trace(error)}'
        ) from error
    except AiotaskError as error:
        raise ImportFailed(f'Module "{name}" could not be loaded: {error}\n{users_trace(error)}') from error
    except (Exception, SystemExit) as error:
        raise ImportFailed(
            f'Module "{name}" raised {type(error).__name__} while it was imported: {error}\n{users_trace(error)}'
        ) from error


def _no_name(name: str, folder: str) -> str:
    path = os.path.join(folder, *name.split(".")) + ".py"
    if not all(name.split(".")) or not os.path.isfile(path):
        return f'"{name}" is not a module name. Use `package.module` or `package.module:app`.'
    parts = [importable_name(part) for part in name.split(".")]
    return (
        f'The file "{path}" cannot be imported: "{name}" is not a valid module name in Python. '
        f"Rename it, for example to {parts[-1]}.py, and name the module: `{'.'.join(parts)}`."
    )


def _meant(name: str, missing: str) -> str:
    """What to do about a module that does not exist."""
    parent, _, attribute = missing.rpartition(".")
    holder = sys.modules.get(parent)
    if holder is not None and hasattr(holder, attribute):
        rest = f"{attribute}{name[len(missing) :]}"
        return f"Did you mean `{parent}:{rest}`, which is an attribute of that module?"
    return "Check the name, and the directory to start from (--app-dir)."


def users_trace(error: BaseException) -> str:
    """A traceback as text, without the frames of importlib; an error that aiotask raises ends at the user's line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib") and os.sep + "importlib" + os.sep not in frame.filename
    ][1:]
    if isinstance(error, AiotaskError):
        # It says what is wrong with the call; how aiotask has found out is of no use here.
        users = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
        frames = users or frames
    lines = traceback.format_list(frames)
    if isinstance(error, SyntaxError):
        # The place of the error and the line itself; without the last line, the message, which the error already has.
        lines += traceback.format_exception_only(error)[:-1]
    return "".join(lines).rstrip()
