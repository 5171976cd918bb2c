"""``aiotask version``."""

from __future__ import annotations

import platform
from typing import Annotated

from .options import Json, Url, option
from .output import print_json

__all__ = ["version", "version_of"]

Server = Annotated[bool, option("--server", help="Ask the server for its version too.")]


def version(server: Server = False, url: Url = None, as_json: Json = False) -> None:
    """Print the versions of aiotask and of its dependencies.

    [bold]Examples[/bold]

      aiotask version
      aiotask version --server --url redis://localhost:6379
      aiotask version --json
    """
    versions = {
        "aiotask": version_of("aiotask"),
        "Python": platform.python_version(),
        "redis-py": version_of("redis"),
    }
    if server:
        versions["server"] = _server_version(url)
    if as_json:
        print_json({name.lower(): value for name, value in versions.items()})
        return
    for name, value in versions.items():
        print(f"{name} {value}")


def version_of(distribution: str) -> str:
    """The version of an installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(distribution)
    except PackageNotFoundError:
        return "not installed"


def _server_version(url: str | None) -> str:
    import asyncio

    from aiotask.ops.connection import Place, inspectors

    async def ask() -> str:
        async with inspectors(Place(url=url), fallback="default") as opened:
            facts = await opened[0].inspector.facts()
            return f"{facts.kind} {facts.version}"

    return asyncio.run(ask())
