"""From what a user types to the apps it means: ``module``, ``module:app``, the environment, pyproject."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from .app import App, default_app
from .errors import AiotaskError, ConfigError, ImportFailed
from .settings import environment

__all__ = ["find_specs", "load_apps"]


def find_specs(given: Sequence[str]) -> list[str]:
    """Which apps to load: those given, else ``$AIOTASK_APP``, else ``[tool.aiotask] app`` in the nearest pyproject.

    Raises:
        ConfigError: none of the three names one.
    """
    if given:
        return list(given)
    named = [part.strip() for part in (environment("APP") or "").split(",") if part.strip()]
    if named:
        return named
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise ConfigError("The current directory is gone. Change to one that is there.") from None
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if project.is_file():
            found = _from_project(project)
            if found:
                return found
            break
    raise ConfigError(
        "Which app? Name its module, as in `aiotask worker shop.tasks`, "
        "or set AIOTASK_APP=shop.tasks, "
        'or write into pyproject.toml: [tool.aiotask] app = "shop.tasks".'
    )


def _from_project(project: Path) -> list[str]:
    import tomllib

    try:
        value = tomllib.loads(project.read_text()).get("tool", {}).get("aiotask", {}).get("app", [])
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'"{project}" cannot be read: {error}.') from None
    specs = [value] if isinstance(value, str) else value
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise ConfigError(f'[tool.aiotask] app in "{project}" has to be a text or a list of texts.')
    return specs


def load_apps(specs: Sequence[str], app_dir: str = "") -> list[App]:
    """The apps that these specs mean, each once, with what they include imported.

    Args:
        specs: ``module`` or ``module:app``. Several modules may feed one app.
        app_dir: goes first on the import path; empty: the current directory.

    Raises:
        ImportFailed: a module cannot be imported, or holds no app and no task.
    """
    folder = os.path.abspath(app_dir or os.getcwd())
    if not os.path.isdir(folder):
        raise ImportFailed(f'The app directory "{folder}" does not exist. Check --app-dir.')
    if folder not in sys.path:
        sys.path.insert(0, folder)
    apps: dict[int, App] = {}
    for spec in specs:
        for app in _load(spec, folder):
            apps[id(app)] = app
    for app in list(apps.values()):
        for module in app.include:
            _import(module, folder)
    for app in apps.values():
        if not len(app.registry):
            raise ImportFailed(
                f'App "{app.name}" ({", ".join(specs)}) has no tasks. Name the module that defines them, '
                "or list it in App(include=[…])."
            )
    return list(apps.values())


def _load(spec: str, folder: str) -> list[App]:
    name, _, attribute = spec.partition(":")
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise ImportFailed(f'"{spec}" is a file; name the module instead: `{dotted}`.')
    module = _import(name, folder)
    if attribute:
        found: object = module
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise ImportFailed(f'Module "{name}" has no "{attribute}".{_apps_hint(module, part)}')
            found = getattr(found, part)
        if not isinstance(found, App):
            kind = type(found).__qualname__
            raise ImportFailed(f'"{spec}" is of type {kind}, not an App.{_apps_hint(module, attribute)}')
        return [found]
    apps = {id(value): value for value in vars(module).values() if isinstance(value, App)}
    defined = list(apps.values()) or [default_app]
    if all(not len(app.registry) and not app.include for app in defined):
        raise ImportFailed(
            f'Module "{name}" defines no tasks. Put `@aiotask.task` or `@app.task` above a function there, '
            "or name the module that does."
        )
    return defined


def _apps_hint(module: object, wanted: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not apps:
        return " It holds no App at all."
    from difflib import get_close_matches

    close = get_close_matches(wanted, apps, n=1)
    return f' Did you mean "{close[0]}"?' if close else f" Its apps: {', '.join(apps)}."


def _import(name: str, folder: str) -> object:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise ImportFailed(f'"{name}" is no module name. Use `package.module` or `package.module:app`.')
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ImportFailed(
                f'There is no module "{missing}" (looked in "{folder}" first). '
                "Is the name right, and is this the directory to start from (--app-dir)?"
            ) from None
        raise ImportFailed(
            f'Module "{name}" needs "{missing}", which is not installed here.\n{_trace(error)}'
        ) from error
    except AiotaskError as error:
        raise ImportFailed(f'Module "{name}" could not be loaded: {error}\n{_trace(error)}') from error
    except (Exception, SystemExit) as error:
        raise ImportFailed(
            f'Module "{name}" raised {type(error).__name__} while it was imported: {error}\n{_trace(error)}'
        ) from error


def _trace(error: BaseException) -> str:
    """The user's part of a traceback: without importlib's frames and ours."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib") and os.sep + "importlib" + os.sep not in frame.filename
    ][1:]
    lines = traceback.format_list(frames)
    if isinstance(error, SyntaxError):
        # Where it is, with the line itself; the last line is the message, which is said already.
        lines += traceback.format_exception_only(error)[:-1]
    return "".join(lines).rstrip()
