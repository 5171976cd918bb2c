"""Finds and loads the apps that a user names: ``module``, ``module:app``, the environment, pyproject."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from .app import App, default_app
from .errors import ConfigError, ImportFailed
from .functions.callables import what_runs
from .functions.loading import importing
from .functions.main_module import importable_name
from .functions.modules import import_module
from .settings import environment
from .tasks.task import apps_here

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
        raise ConfigError("The current directory does not exist any more. Change to one that exists.") from None
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
        raise ConfigError(f'[tool.aiotask] app in "{project}" must be text or a list of texts.')
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
    named_by: dict[int, list[str]] = {}
    with importing():
        for spec in specs:
            for app in _load(spec, folder):
                apps[id(app)] = app
                named_by.setdefault(id(app), []).append(spec)
        for app in list(apps.values()):
            for module in app.include:
                import_module(module, folder)
    # Only once all modules are imported: one may define the tasks of another one's app.
    for key, app in apps.items():
        if not len(app.registry) and app.rows is None:
            raise ImportFailed(_no_tasks(app, named_by[key], specs))
    return list(apps.values())


def _no_tasks(app: App, named_by: Sequence[str], specs: Sequence[str]) -> str:
    name = named_by[0].partition(":")[0]
    if app is default_app:
        return (
            f'Module "{name}" defines no tasks. Put `@aiotask.task` or `@app.task` above a function there, '
            "or name the module that does."
        )
    included = f", and what its include= names ({', '.join(app.include)}) defines none either" if app.include else ""
    return (
        f'Module "{name}" defines no tasks. It holds the app "{app.name}"{included}. Name the modules with its tasks, '
        f"too, as in `aiotask worker {' '.join(specs)} shop.tasks`, or list them in the app: "
        'App(include=["shop.tasks"]).'
    )


#: Modules of aiotask that load the application of a web framework, and return its apps.
_FRAMEWORKS = frozenset({"aiotask.contrib.django", "aiotask.contrib.flask"})


def _load(spec: str, folder: str) -> list[App]:
    if spec in _FRAMEWORKS:
        return list(import_module(spec, folder).load_apps())
    name, _, attribute = spec.partition(":")
    if name.endswith(".py") or "/" in name:
        raise ImportFailed(_file_instead(spec, name))
    module = import_module(name, folder)
    _refuse_the_library(name, module, folder)
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
    # A module may have the decorator without its app: from a function, or as an attribute of another module.
    apps |= {id(app): app for app in list(apps_here) if isinstance(app, App) and _has_tasks_of(app, module)}
    return list(apps.values()) or [default_app]


def _has_tasks_of(app: App, module: ModuleType) -> bool:
    if app.rows is not None and any(row.function.__module__ == module.__name__ for row in app.rows.registry):
        return True
    inner = (inspect.unwrap(what_runs(task.function)) for task in app.registry)
    return any(getattr(function, "__globals__", None) is vars(module) for function in inner)


def _file_instead(spec: str, path: str) -> str:
    dotted = path.removesuffix(".py").strip("./").replace("/", ".")
    if all(part.isidentifier() for part in dotted.split(".")):
        return f'"{spec}" is a file; name the module instead: `{dotted}`.'
    usable = ".".join(importable_name(part) for part in dotted.split("."))
    return (
        f'"{spec}" is a file that cannot be imported: "{dotted}" is not a valid module name in Python. '
        f"Rename it so that the module can be named `{usable}`."
    )


def _refuse_the_library(name: str, module: ModuleType, folder: str) -> None:
    """Refuse a library in place of a user's file with its name: it is already loaded, or comes first on the path."""
    file = os.path.join(folder, *name.split("."))
    found = getattr(module, "__file__", None)
    own = next((path for path in (f"{file}.py", os.path.join(file, "__init__.py")) if os.path.isfile(path)), None)
    if own is not None and found is not None and os.path.realpath(own) == os.path.realpath(found):
        own = None
    if name.partition(".")[0] == "aiotask":
        rename = f'Rename your file "{own}"' if own is not None else "Name the module with your tasks"
        raise ImportFailed(f'"{name}" is the library itself ("{found}"), not an app. {rename}.')
    if own is not None and found is not None:
        raise ImportFailed(
            f'"{name}" is the module "{found}" here, and not your file "{own}". Rename your file: '
            "another module has its name."
        )


def _apps_hint(module: object, wanted: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not apps:
        return " The module holds no App."
    from difflib import get_close_matches

    close = get_close_matches(wanted, apps, n=1)
    return f' Did you mean "{close[0]}"?' if close else f" Its apps: {', '.join(apps)}."
