"""aiotask in a Flask application: runs have its application context, and ``flask aiotask run`` starts workers."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import click
from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from ..app import App
from ..context import JobContext
from ..errors import ConfigError, ImportFailed
from ..functions.modules import users_trace
from ..middleware import Middleware
from .commands import become_command, become_worker

__all__ = ["init_app", "load_apps"]

#: Key of ``Flask.extensions``: the apps of aiotask.
EXTENSION = "aiotask"


def init_app(flask_app: Flask, app: App) -> None:
    """Connect an app of aiotask with a Flask application, in ``create_app()`` or beside it.

    Each run of a task or row then has an application context of its own, so that ``current_app``, ``g`` and
    ``db.session`` work in it. A function in ``App(database=…)`` is called within such a context, too: Flask-SQLAlchemy
    knows its engine only there. The command ``flask aiotask`` is added.

    A further call for the same app puts another Flask application in place of the one before, as a factory does in
    tests.

    Raises:
        ConfigError: an argument is of another type.
    """
    _check(flask_app, app)
    connection = _connections.get(app)
    if connection is None:
        connection = _connections[app] = _Connection(flask_app, app.database.given)
        app.add_middleware(connection)
    connection.flask_app = flask_app
    if callable(connection.database):
        app.database.replace(connection.engine)
    apps: list[App] = flask_app.extensions.setdefault(EXTENSION, [])
    if app not in apps:
        apps.append(app)
    flask_app.cli.add_command(_commands, EXTENSION)


def _check(flask_app: object, app: object) -> None:
    if not isinstance(flask_app, Flask) or not isinstance(app, App):
        raise ConfigError(
            f"init_app() got objects of the types {type(flask_app).__qualname__} and {type(app).__qualname__}. "
            "Give the Flask application, and the App of aiotask: init_app(flask_app, app)."
        )


class _Connection(Middleware):
    """What connects an app of aiotask with the Flask application that it runs in.

    Args:
        database: as given to the app.
    """

    def __init__(self, flask_app: Flask, database: Any) -> None:
        self.flask_app = flask_app
        self.database = database

    def execute(self, job: JobContext, /) -> AbstractContextManager[Any]:
        return self.flask_app.app_context()

    def engine(self) -> Any:
        """What the function in ``App(database=…)`` returns in an application context."""
        with self.flask_app.app_context():
            return self.database()


_connections: weakref.WeakKeyDictionary[App, _Connection] = weakref.WeakKeyDictionary()


# ---- in a worker


def load_apps() -> Sequence[App]:
    """The apps of the Flask application that ``FLASK_APP`` names, or that is found as ``flask`` finds it: what
    ``aiotask worker aiotask.contrib.flask`` serves.

    Raises:
        ImportFailed: there is no Flask application, its factory fails, or no app is connected with it.
    """
    # Flask.run() does nothing then: the module may call it without a guard.
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    path = os.environ.get("FLASK_APP") or None
    shown = f'FLASK_APP="{path}"' if path else "The Flask application"
    try:
        flask_app = ScriptInfo(app_import_path=path).load_app()
    except NoAppException as error:
        raise ImportFailed(f"{shown} cannot be loaded: {error.format_message()}") from error
    except (Exception, SystemExit) as error:
        text = f"{shown} raised {type(error).__name__} while it was loaded: {error}\n{users_trace(error)}"
        raise ImportFailed(text) from error
    apps: Sequence[App] = flask_app.extensions.get(EXTENSION, ())
    if not apps:
        raise ImportFailed(
            f"{shown} is connected with no app of aiotask. Call aiotask.contrib.flask.init_app(flask_app, app) where "
            "the Flask application is made."
        )
    return apps


# ---- commands


class _PassedOn(click.Command):
    """A command whose arguments are left to ``aiotask``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


class _Commands(click.Group):
    """``flask aiotask``: ``run``, and every other command of ``aiotask``."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or _PassedOn(cmd_name, callback=click.pass_context(_pass_on))


_commands = _Commands(
    EXTENSION,
    help="Workers and jobs of this application. Besides run, every command of aiotask can be given: "
    "flask aiotask jobs, flask aiotask doctor.",
)


@_commands.command("run", cls=_PassedOn, short_help="Run jobs and rows in worker processes.")
@click.pass_context
def _run(context: click.Context) -> NoReturn:
    if {"-h", "--help"} & {*context.args}:
        click.echo("flask aiotask run: as aiotask worker, for this Flask application. APP is not needed.")
    path = _path_of(context.ensure_object(ScriptInfo))
    if path:
        os.environ["FLASK_APP"] = path
    become_worker(__name__, context.args)


def _pass_on(context: click.Context) -> NoReturn:
    flask_app = context.ensure_object(ScriptInfo).load_app()
    become_command(lambda: flask_app.extensions[EXTENSION], [str(context.info_name), *context.args])


def _path_of(info: ScriptInfo) -> str | None:
    """How a worker process finds the Flask application of this command; None: as ``flask`` finds it by itself."""
    if info.create_app is None:
        return info.app_import_path
    factory: Callable[..., Flask] = info.create_app
    module, name = factory.__module__, getattr(factory, "__qualname__", "<>")
    if module == "__main__" or not name.isidentifier():
        raise click.ClickException(
            "Worker processes cannot find the factory of this command by a name. Name the Flask application: "
            'flask --app "package.module:create_app" aiotask run.'
        )
    return f"{module}:{name}"
