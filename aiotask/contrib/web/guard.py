"""What stands before every page: names of this machine, who it is, that only this site acts, and headers."""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...ops.visitors import Visitor
from .access import TRIED, Access, client_of, header

__all__ = ["FORM_BYTES", "VISITOR", "Guard", "Headers", "path_in"]

#: Key of the scope: the visitor of a request.
VISITOR = "aiotask.visitor"
#: Bytes of a form at most.
FORM_BYTES = 64 * 1024
#: Told of a request that was refused.
Refused = Callable[[Scope, Visitor | None, str], Awaitable[None]]

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class Headers:
    """Adds to every response the headers that make browsers careful."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = {name.lower() for name, _ in message["headers"]}
                extra = [*_HEADERS, *([] if b"cache-control" in found else [(b"cache-control", b"no-store")])]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, careful)


class Guard:
    """Refuses what no page should see.

    Args:
        access: says who a request comes from.
        loopback: answer only under a name of this machine, so that no page of another site can reach the dashboard by
            a name that resolves to it.
        login: path of the form to log in; empty: there is none.
        refused: called with the request that was refused, its visitor (None: an unknown one), and the reason.
    """

    def __init__(self, app: ASGIApp, access: Access, *, loopback: bool, login: str, refused: Refused) -> None:
        self._app = app
        self._access = access
        self._loopback = loopback
        self._login = login
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = await self._refusal(scope)
        if refusal is not None:
            return await refusal(scope, receive, send)
        await self._app(scope, _bounded(receive), send)

    async def _refusal(self, scope: Scope) -> Response | None:
        if self._loopback and not _is_loopback(header(scope, "host")):
            return _text(
                421,
                "This dashboard answers only under a name of this machine, such as http://localhost. To serve it under "
                "other names, protect it: aiotask web --host ADDRESS --users FILE",
            )
        length = header(scope, "content-length")
        if length.isdecimal() and (len(length) > 9 or int(length) > FORM_BYTES):
            return _text(413, f"A form holds at most {FORM_BYTES // 1024} kB. Select fewer jobs, or use a filter.")
        path = path_in(scope)
        is_open = is_exempt(path)
        found = self._access(scope) if not is_open else None
        visitor = await found if inspect.isawaitable(found) else found
        if visitor is not None and not visitor.source:
            visitor = replace(visitor, source=client_of(scope))
        if TRIED in scope:
            await self._refused(scope, None, "")
            status, text = scope[TRIED].answer
            return _text(status, text)
        if scope["method"] not in ("GET", "HEAD") and not _is_own(scope):
            await self._refused(scope, visitor, "came from another site")
            return _text(
                403,
                "Nothing was done: this request came from another site. Use the form on this dashboard. If you did, a "
                "proxy replaces the Host header: have it pass on the one that the browser sends.",
            )
        if visitor is None and not is_open and path != self._login:
            if scope["method"] not in ("GET", "HEAD"):
                await self._refused(scope, visitor, "not a known visitor")
            return self._unknown(scope)
        scope[VISITOR] = visitor
        return None

    def _unknown(self, scope: Scope) -> Response:
        is_page = scope["method"] == "GET" and not header(scope, "x-part") and not header(scope, "authorization")
        if self._login and is_page and "html" in header(scope, "accept"):
            return Response(status_code=303, headers={"location": scope.get("root_path", "") + self._login})
        return _text(401, "Log in first. Programs send the header: Authorization: Bearer BASE64(NAME:PASSWORD)")


def is_exempt(path: str) -> bool:
    """Whether everybody may read this: exact routes, no prefixes that others could begin with."""
    return path in ("/healthz", "/favicon.ico") or path.startswith("/static/")


def path_in(scope: Scope) -> str:
    """The path below the place where the dashboard is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root) else path


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own(scope: Scope) -> bool:
    """Whether a request that acts was made by a page of this site, or by a program that sends a password itself."""
    if header(scope, "authorization").lower().startswith("bearer ") and not header(scope, "cookie"):
        return True
    site = header(scope, "sec-fetch-site")
    if site:
        return site == "same-origin"
    origin = header(scope, "origin")
    return bool(origin) and urlsplit(origin).netloc == header(scope, "host")


def _bounded(receive: Receive) -> Receive:
    """The body of a request, cut where it is longer than a form may be."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > FORM_BYTES:
                return {"type": "http.disconnect"}
        return message

    return bounded
