"""One request as the pages see it: whose app, who looks, what was asked, and how links are made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from ...errors import ConfigError
from ...inspector import Stats
from ...job import Status
from ...ops.actions import Actions
from ...ops.connection import Connection, Place
from ...ops.visitors import Verb, Visitor

if TYPE_CHECKING:
    from .dashboard import Site

__all__ = ["ID", "MOST_ROWS", "ROWS", "View"]

#: Rows of a page, and rows at most; characters of an id, and of another text in an address.
ROWS, MOST_ROWS = 50, 200
ID = TEXT = 200


@dataclass(frozen=True)
class View:
    """What one request is about."""

    site: Site
    request: Request
    visitor: Visitor
    connection: Connection
    #: The labels of all apps here.
    apps: tuple[str, ...]

    # ---- reading

    @property
    def place(self) -> Place:
        return Place(opened=(self.connection,))

    @property
    def result_db(self) -> str | None:
        return self.site.settings.result_db

    async def stats(self) -> Stats:
        return await self.site.connections.stats(self.connection)

    async def kept(self, what: str, seconds: float, read: Any) -> Any:
        return await self.site.connections.kept(self.connection, what, seconds, read)

    # ---- what was asked

    def asked(self, name: str, most: int = TEXT) -> str:
        """A text in the address; empty: none, or one that is longer than it may be."""
        found = self.request.query_params.get(name, "").strip()
        return found if len(found) <= most else ""

    def number(self, name: str, usual: int, most: int) -> int:
        found = self.asked(name)
        return min(max(int(found), 1), most) if found.isdecimal() and len(found) < 10 else usual

    @property
    def rows(self) -> int:
        return self.number("limit", ROWS, MOST_ROWS)

    def status(self) -> Status | None:
        """The status that was asked for.

        Raises:
            ConfigError: there is no such status.
        """
        found = self.asked("status").upper()
        if found and found not in Status.__members__:
            raise ConfigError(f'There is no status "{found}". Statuses: {", ".join(Status).lower()}.')
        return Status(found) if found else None

    # ---- acting

    @cached_property
    def actions(self) -> Actions:
        may = frozenset(self.visitor.may) & frozenset(self.site.settings.allow)
        return Actions(self.place, Visitor(self.visitor.name, may, self.visitor.source), self.site.refusals)

    def may(self, verb: str) -> bool:
        return self.actions.may(Verb(verb))

    # ---- links

    def url(self, path: str, *parts: str, **query: object) -> str:
        """The address of a page: each part of the path is quoted, and the app is named where there are several."""
        whole = self.request.scope.get("root_path", "") + path
        for part in parts:
            whole = whole.rstrip("/") + "/" + quote(str(part), safe="", errors="replace")
        given = {name: str(value) for name, value in query.items() if value not in (None, "")}
        if len(self.apps) > 1 and "app" not in given:
            given["app"] = self.connection.label
        return f"{whole}?{urlencode(given, errors='replace')}" if given else whole

    def here(self, **changed: object) -> str:
        """This page with other conditions; its place in the list is left out unless it is given."""
        kept = {
            name: value for name, value in self.request.query_params.items() if name not in ("after", "looked", "said")
        }
        return self.url(self.path, **{**kept, **changed})

    @property
    def path(self) -> str:
        path, root = self.request.scope["path"], self.request.scope.get("root_path", "")
        return quote(path[len(root) :] if root and path.startswith(root) else path, errors="replace")

    @property
    def back(self) -> str:
        """This page, for a form that leads back to it."""
        kept = {name: value for name, value in self.request.query_params.items() if name != "said"}
        whole = self.request.scope.get("root_path", "") + self.path
        return f"{whole}?{urlencode(kept, errors='replace')}" if kept else whole
