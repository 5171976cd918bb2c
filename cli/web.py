"""``aiotask web``: the dashboard; and ``aiotask web-user``, which makes lines of its users file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import AppName, Database, File, Url, option, port
from .output import print_error

__all__ = ["web", "web_user"]


def _web(*flags: str, help: str, **settings: Any) -> Any:
    """An option whose variable begins with ``AIOTASK_WEB_``."""
    name = flags[0].partition("/")[0].removeprefix("--").replace("-", "_").upper()
    return option(*flags, help=help, envvar=f"AIOTASK_WEB_{name}", **settings)


Host = Annotated[str, _web("--host", metavar="ADDRESS", help="Address to listen on; other machines need users.")]
Port = Annotated[int, _web("--port", "-p", parser=port, metavar="PORT", help="Port to listen on.")]
ReadOnly = Annotated[bool, _web("--read-only", help="Show everything, change nothing.")]
Allow = Annotated[
    str,
    _web(
        "--allow",
        metavar="VERBS",
        show_default="every verb",
        help="Only these verbs, separated by commas: pause, resume, purge, cancel, run-now, resend, move, replay, "
        "discard, remove, set-limit, reset-limit, stacks, drain, recycle.",
    ),
]
HideArguments = Annotated[bool, _web("--hide-arguments", help="Show neither arguments nor results of jobs.")]
Hide = Annotated[
    str,
    _web("--hide", metavar="NAMES", help="Further parts of names of arguments that are shown as dots, as in iban,pin."),
]
UsersFile = Annotated[
    str | None,
    _web("--users", metavar="FILE", help="Who may log in; a line for each user, made by aiotask web-user."),
]
Header = Annotated[
    str | None,
    _web("--trust-user-header", metavar="NAME", help="Header in which a proxy says who the user is; it needs --from."),
]
From = Annotated[
    str, _web("--from", metavar="NETWORKS", help="Networks of that proxy, separated by commas, as in 10.0.0.0/8.")
]
Prefix = Annotated[str, _web("--prefix", metavar="PATH", help="Path below which a proxy serves it, as in /aiotask.")]
Insecure = Annotated[bool, _web("--insecure", help="Let everybody in who reaches it; every page says so.")]
Open = Annotated[bool, _web("--open", help="Open it in a browser.")]


def web(
    host: Host = "127.0.0.1",
    port: Port = 8787,
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    read_only: ReadOnly = False,
    allow: Allow = "",
    hide_arguments: HideArguments = False,
    hide: Hide = "",
    users: UsersFile = None,
    header: Header = None,
    networks: From = "",
    prefix: Prefix = "",
    insecure: Insecure = False,
    open_: Open = False,
) -> None:
    """Serve the dashboard: queues, jobs, workers, dead letters, schedules and limits in a browser.

    It looks through the broker, and imports no code of the apps. By default only this machine reaches it. Other
    machines need --users, or a proxy that says who the user is.

    [bold]Examples[/bold]

      aiotask web --open
      aiotask web --url redis://queue.internal --name shop --read-only
      aiotask web-user ada >> users.txt
      aiotask web --host 0.0.0.0 --users users.txt
      aiotask web --allow pause,resume,cancel
      aiotask web --trust-user-header X-Forwarded-User --from 10.0.0.0/8 --prefix /jobs
    """
    from aiotask.errors import ConfigError
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import ACTS, verbs_named

    try:
        from aiotask.contrib.web.serve import access_for, is_loopback, serve, site_for
        from aiotask.contrib.web.settings import Settings
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The dashboard needs {error.name}, which is not installed: pip install 'aiotask[web]'"
        ) from error
    from aiotask.app import App

    place = Place(name, url, database)
    secrets = App(name or "default", url=url).secrets if url else ()
    given = tuple(each.strip() for each in networks.split(",") if each.strip())
    access = access_for(host, users, header, given, insecure=insecure, secrets=secrets)
    is_open = not users and not header
    verbs = verbs_named(allow.split(",")) if allow else ACTS
    settings = Settings(
        allow=frozenset() if read_only else verbs,
        hide_arguments=hide_arguments,
        hide=tuple(each.strip() for each in hide.split(",") if each.strip()),
        result_db=db,
        loopback=is_open and is_loopback(host) and not insecure,
        unprotected=is_open and not is_loopback(host),
    )
    _, app = site_for(place, access, settings, prefix)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/{prefix.strip('/')}"
    if open_:
        _open(address)
    if settings.unprotected:
        print_error("this dashboard is unprotected: everybody who reaches it may cancel every job (--users FILE).")
    serve(app, host, port, started=f"Dashboard at {address}", access=access)


def _open(address: str) -> None:
    """Open the browser once the server listens."""
    import threading
    import webbrowser

    timer = threading.Timer(1.0, webbrowser.open, [address])
    timer.daemon = True
    timer.start()


UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]
Role = Annotated[
    str, option("--role", metavar="ROLE", envvar="AIOTASK_WEB_ROLE", help="What the user may do: read, or act.")
]


def web_user(name: UserName, role: Role = "act") -> None:
    """Make the line of a user for the file that aiotask web --users reads.

    It asks for the password, or reads it from stdin if that is no terminal. The line has a hash of it (scrypt).

    [bold]Examples[/bold]

      aiotask web-user ada >> users.txt
      aiotask web-user bert --role read >> users.txt
    """
    import sys

    from aiotask.errors import ConfigError

    try:
        from aiotask.contrib.web.users import line_of
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The dashboard needs {error.name}, which is not installed: pip install 'aiotask[web]'"
        ) from error
    if sys.stdin.isatty():
        from getpass import getpass

        password = getpass(f"Password of {name}: ", stream=sys.stderr)
        if password != getpass("Again: ", stream=sys.stderr):
            raise ConfigError("The two passwords differ. Repeat the command.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    print(line_of(name, password, role))
