"""The dashboard as a server of its own."""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import ConfigError
from ...ops.connection import Place
from ...parts.pausing import this_user
from .access import Access, Local, Proxied, Users, name_of
from .dashboard import Dashboard, dashboard
from .settings import Settings

__all__ = ["Prefixed", "access_for", "is_loopback", "serve", "site_for"]


class Prefixed:
    """An app below a path, whether a proxy before it removes that path or not."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = "/" + prefix.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            is_whole = path == self._prefix or path.startswith(self._prefix + "/")
            scope = {**scope, "root_path": self._prefix, "path": path if is_whole else self._prefix + path}
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_for(
    host: str,
    users: str | None,
    header: str | None,
    networks: tuple[str, ...],
    *,
    insecure: bool,
    secrets: tuple[str, ...],
) -> Access:
    """Who may look, as the options say.

    Raises:
        ConfigError: they contradict each other, or nothing would protect a dashboard that other machines reach.
    """
    if users and header:
        raise ConfigError("Give --users or --trust-user-header, not both: one of them says who it is.")
    if users:
        return Users(users, secrets)
    if header:
        return Proxied(header, networks)
    if networks:
        raise ConfigError("--from NETWORK says from where --trust-user-header is believed. Give both.")
    if not is_loopback(host) and not insecure:
        raise ConfigError(
            f'Other machines would reach the dashboard at "{host}", and everybody there could cancel every job. '
            f"Protect it: aiotask web-user {this_user().partition('@')[0]} >> users.txt, then "
            f"aiotask web --host {host} --users users.txt. Behind a proxy that logs users in: --trust-user-header NAME "
            "--from NETWORK. "
            "Without any protection: --insecure."
        )
    return Local()


def site_for(place: Place, access: Access, settings: Settings, prefix: str) -> tuple[Dashboard, ASGIApp]:
    """The dashboard, and the app to serve."""
    made = dashboard(place, access=access, settings=settings)
    return made, Prefixed(made, prefix) if prefix.strip("/") else made


def serve(app: ASGIApp, host: str, port: int, *, started: str, access: Access) -> None:
    """Serve until a signal ends it. ``started`` is printed once it listens."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
            await super().startup(sockets)  # type: ignore[arg-type]
            if self.started:
                print(f"{started} For {name_of(access)}.", flush=True)

    # The address of a client is that of the connection: a header could say any other.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=5,
        limit_concurrency=500,
        h11_max_incomplete_event_size=64 * 1024,
    )
    Server(config).run()
