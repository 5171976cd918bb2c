"""``aiotask server``: the embedded server, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import typer

from .asking import confirm
from .group import Group, add
from .options import Json, Yes
from .output import console, plain, print_json

if TYPE_CHECKING:
    from aiotask.embedded.server import EmbeddedServer

__all__ = ["app"]


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Start, stop or inspect the embedded server: a private Valkey or Redis, used when AIOTASK_URL is not set.

    [bold]Examples[/bold]

      aiotask server start
      aiotask server status --json
      aiotask server stop
    """,
    epilog="Its data is in AIOTASK_HOME (default: ~/.local/state/aiotask). AIOTASK_EMBEDDED=0 forbids it.",
)


def start(as_json: Json = False) -> None:
    """Start the embedded server unless it is running. It keeps running after this command has ended.

    [bold]Examples[/bold]

      aiotask server start
      AIOTASK_HOME=/srv/shop/state aiotask server start
      export AIOTASK_URL=$(aiotask server start --json | jq -r .url)
    """
    from aiotask.embedded.server import announce, ensure
    from aiotask.ops.describe import describe_embedded

    server = ensure()
    if as_json:
        print_json(describe_embedded(server))
    elif server.started:
        console().print(plain(announce(server), 2000))
    else:
        console().print(f"It runs already: {_named(server)}.")


def stop(yes: Yes = False) -> None:
    """Stop the embedded server. Its jobs are kept on disk for the next start.

    If workers of this server are live, the command warns that they will wait until the server is started again, and on
    a terminal asks for confirmation first.

    [bold]Examples[/bold]

      aiotask server stop
      AIOTASK_HOME=/srv/shop/state aiotask server stop
    """
    import asyncio
    import sys

    from aiotask.embedded import server as embedded
    from aiotask.ops.overview import live_workers

    server = embedded.status()
    workers = asyncio.run(live_workers(server.url)) if server is not None else 0
    if workers:
        what = f"{workers} worker{'' if workers == 1 else 's'}"
        if not yes and sys.stdin.isatty():
            confirm("stop", f"the server, although {what} would have to wait for it", "aiotask queues")
        print(f"warning: {what} will wait until the server is started again.", file=sys.stderr)
    if embedded.stop():
        console().print("Stopped. The jobs it held stay on disk for its next start.")
    else:
        console().print(f'No embedded server is running in "{plain(embedded.state_directory(), 1000)}".')


def status(as_json: Json = False) -> None:
    """Show whether the embedded server is running, and what it holds. The exit code is 1 if it is not running.

    [bold]Examples[/bold]

      aiotask server status
      aiotask server status --json | jq .keys
      aiotask server status || aiotask server start
    """
    from aiotask.embedded import server as embedded
    from aiotask.ops.describe import describe_embedded

    server = embedded.status()
    if server is None:
        if as_json:
            print_json({"running": False, "directory": str(embedded.state_directory())})
        else:
            directory = plain(embedded.state_directory(), 1000)
            console().print(f'The embedded server of "{directory}" is not running. Start it: aiotask server start')
        raise typer.Exit(1)
    info = embedded.facts(server)
    if as_json:
        print_json(describe_embedded(server, info))
    else:
        _show(server, info)


def _named(server: EmbeddedServer) -> str:
    return f"{server.kind.capitalize()} {server.version}, pid {server.pid}, {plain(server.url, 1000)}"


def _show(server: EmbeddedServer, info: dict[str, str]) -> None:
    from rich.table import Table

    from aiotask.log.events import in_words
    from aiotask.ops.describe import describe_embedded
    from aiotask.ops.sizes import in_bytes

    numbers = describe_embedded(server, info)
    socket = unquote(server.url.removeprefix("unix://"))
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    state = "[yellow]loading its data[/yellow]" if info.get("loading") == "1" else "[green]running[/green]"
    uptime = numbers["uptime"]  # whole seconds
    shown.add_row("state", f"{state} for {in_words(uptime)}" if uptime else f"{state}, just started")
    shown.add_row("server", f"{server.kind.capitalize()} {plain(server.version)}, pid {server.pid}")
    shown.add_row("memory", in_bytes(numbers["memory"]))
    shown.add_row("keys", f"{numbers['keys']:,}")
    shown.add_row("clients", f"{numbers['clients']:,}")
    shown.add_row("append-only file", _append_only(numbers["aof_size"], info))
    shown.add_row("directory", plain(server.directory, 1000))
    shown.add_row("socket", plain(Path(socket), 1000))
    console().print(shown)


def _append_only(size: int, info: dict[str, str]) -> str:
    from aiotask.ops.sizes import in_bytes

    if info.get("aof_last_write_status", "ok") == "ok":
        return in_bytes(size)
    return f"{in_bytes(size)}, [red]the last write failed: is the disk full?[/red]"


add(app, start, stop, status)
