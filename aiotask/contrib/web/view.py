"""One request as the pages see it: whose app, who looks, what was asked, and how links are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from starlette.requests import Request

from ...ops.views.look import Look

if TYPE_CHECKING:
    from .dashboard import Site

__all__ = ["View"]


@dataclass(frozen=True, kw_only=True)
class View(Look):
    """What one request is about."""

    site: Site
    request: Request
    #: The labels of all apps here.
    apps: tuple[str, ...]

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
