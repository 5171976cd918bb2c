"""The dashboard as an ASGI app: routes, errors, and what every page has around it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ...app import App
from ...errors import AiotaskError, BrokerError, ConfigError, ResultExpired
from ...ops.audit import REFUSED, AuditLine, note
from ...ops.connection import Connection, Place
from ...ops.connections import Connections
from ...ops.durability import row_of
from ...ops.refusals import Refusals
from ...ops.views.look import NotFound
from ...ops.views.runs import Runs
from ...ops.visitors import ACTS, READS, NotAllowed, Verb, Visitor
from .access import COOKIE, SESSION, TRIED, Access, Tried, Users, client_of
from .acts import act, stop_bulk
from .forms import read_form, read_said, safe_path
from .guard import VISITOR, Guard, Headers, path_in
from .pages import PAGES, Page, Shown
from .render import assets, environment, static_hash
from .settings import Settings
from .view import View

__all__ = ["Dashboard", "Site", "dashboard"]

logger = logging.getLogger("aiotask.web")

_LOGIN = "/login"
#: Seconds for which facts about the server are kept.
_FACTS_KEPT = 10.0
#: Seconds that a page may take; the server is asked again by the next one.
_PAGE_TIMEOUT = 20.0
#: Seconds that the audit may take where something is refused.
_NOTE_TIMEOUT = 1.0


class Site:
    """What all requests to one dashboard share."""

    def __init__(self, connections: Connections, access: Access, settings: Settings) -> None:
        self.connections = connections
        self.access = access
        self.settings = settings
        self.runs = Runs()
        self.refusals = Refusals()
        self.version = version("aiotask")

    async def view(self, request: Request) -> View:
        """The request, with the app that it is about.

        Raises:
            ConfigError: there is no such app.
        """
        visitor = request.scope.get(VISITOR) or Visitor("nobody", READS)
        connection = await self.connections.named(request.query_params.get("app", ""))
        apps = tuple(each.label for each in await self.connections.all())
        return View(
            connections=self.connections,
            connection=connection,
            visitor=visitor,
            choices=self.settings,
            given=request.query_params,
            refusals=self.refusals,
            site=self,
            request=request,
            apps=apps,
        )

    # ---- what is refused before an app is known

    async def refused(self, scope: Scope, visitor: Visitor | None, why: str) -> None:
        """Write down that a request was refused."""
        tried = scope.get(TRIED)
        if tried is not None:
            return await self.note_refusal(AuditLine(tried.name, client_of(scope), "log in", "", 0, REFUSED), scope)
        _, _, word = path_in(scope).partition("/do/")
        verb = word if word in ACTS else "request"
        name = visitor.name if visitor is not None else "unknown"
        await self.note_refusal(AuditLine(name, client_of(scope), verb, scope["path"], 0, REFUSED, why), scope)

    async def note_refusal(self, line: AuditLine, scope: Scope) -> None:
        """Write a refusal into the log, and into the audit of the app that was meant, or of the first one."""
        admitted = self.refusals.admit(line)
        if admitted is None:
            return
        opened: list[Connection] = []
        # A refusal is answered at once, even if the server that keeps the audit is away.
        lost = ""
        try:
            async with asyncio.timeout(_NOTE_TIMEOUT):
                opened = [await self.connections.named(Request(scope).query_params.get("app", ""))]
        except (AiotaskError, TimeoutError) as error:
            lost = str(error) or "it did not answer in time"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTE_TIMEOUT):
                await note(opened, admitted, lost)

    # ---- a page

    async def page(self, request: Request, page: Page) -> Response:
        async with asyncio.timeout(_PAGE_TIMEOUT):
            view = await self.view(request)
            return await self.show(view, await page(view))

    async def show(self, view: View, shown: Shown | Response) -> Response:
        if isinstance(shown, Response):
            return shown
        around = await self._around(view)
        said = read_said(view.request.query_params.get("said", ""), view.connection.secrets)
        return self.render(view.request, shown, view=view, around=around, said=said)

    async def _around(self, view: View) -> dict[str, Any]:
        """What stands beside every page: counts, and the server."""
        stats, facts = await asyncio.gather(
            view.stats(), view.kept("facts", _FACTS_KEPT, view.connection.inspector.facts)
        )
        return {
            "counts": {
                "jobs": stats.pending + stats.scheduled + stats.parked + stats.waiting + stats.running,
                "running": stats.running,
                "queues": len(stats.queues),
                "dead": stats.dead,
                "workers": stats.workers,
            },
            "facts": facts,
            "durability": facts.durability.words,
            "kept": row_of(facts),
        }

    def render(self, request: Request, shown: Shown, **more: Any) -> Response:
        """The page; only its changing part, or nothing if that has not changed, where the script asks for it."""
        is_part = request.headers.get("x-part") == "main"
        root = request.scope.get("root_path", "")
        theme = request.cookies.get("aiotask_theme", "")
        text = (
            environment()
            .get_template(shown.template)
            .render(
                {
                    "view": None,
                    "around": None,
                    "said": None,
                    "part": is_part,
                    "root": root,
                    "static": f"{root}/static/{static_hash()}",
                    "site": self,
                    "users": isinstance(self.access, Users),
                    "theme": theme if theme in ("light", "dark") else "",
                    **more,
                    **shown.data,
                }
            )
        )
        # Halves of characters cannot be written: what templates show has none, and this is for what they cannot know.
        body = text.encode("utf-8", "backslashreplace")
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        headers = {"etag": tag, "vary": "x-part, cookie"}
        if shown.status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, shown.status, headers, media_type="text/html")

    async def error(self, request: Request, status: int, title: str, text: str) -> Response:
        """What went wrong as a page, from which people find elsewhere if the server still answers; or as plain text."""
        wants_page = "html" in request.headers.get("accept", "") or request.headers.get("x-part")
        if not wants_page:
            return PlainTextResponse(f"{text}\n", status)
        shown = Shown("error.html", {"title": title, "text": text, "status": status}, status)
        if status < 500 and VISITOR in request.scope:
            with contextlib.suppress(AiotaskError, TimeoutError):
                async with asyncio.timeout(_NOTE_TIMEOUT):
                    view = await self.view(request)
                    return self.render(request, shown, view=view, around=await self._around(view))
        return self.render(request, shown)


# ---- routes


def _page_route(site: Site, path: str, page: Page) -> Route:
    async def endpoint(request: Request) -> Response:
        return await site.page(request, page)

    return Route(path, endpoint, methods=["GET"], name=page.__name__)


def _acts(site: Site) -> list[Route]:
    async def do(request: Request) -> Response:
        try:
            verb = Verb(request.path_params["verb"])
        except ValueError:
            raise HTTPException(404, f'There is no verb "{request.path_params["verb"][:100]}".') from None
        form = await read_form(request)
        return await act(await site.view(request), verb, form)

    async def stop(request: Request) -> Response:
        form = await read_form(request)
        return await stop_bulk(await site.view(request), form)

    async def refuse(request: Request) -> Response:
        await site.refused(request.scope, request.scope.get(VISITOR), "the dashboard is read-only")
        raise HTTPException(403, "Nothing was done: this dashboard is read-only.")

    if site.settings.read_only:
        return [Route("/do/{verb}", refuse, methods=["POST"])]
    return [
        Route("/do/stop", stop, methods=["POST"]),
        Route("/do/{verb}", do, methods=["POST"]),
    ]


def _login(site: Site, access: Users) -> list[Route]:
    def form(request: Request, status: int, text: str) -> Response:
        return site.render(request, Shown("login.html", {"text": text}, status))

    async def show(request: Request) -> Response:
        return form(request, 200, "")

    async def log_in(request: Request) -> Response:
        given = await read_form(request)
        name, password = given.get("name"), given.get("password", 1024)
        # Checking takes 50 ms of CPU, in which the loop goes on.
        user = await asyncio.to_thread(access.log_in, name, password)
        if user is None:
            source = request.client.host if request.client else "?"
            await site.note_refusal(AuditLine(name[:64], source, "log in", "", 0, REFUSED), request.scope)
            return form(request, *Tried(name, access.is_over(name)).answer)
        root = request.scope.get("root_path", "")
        done = RedirectResponse(root + "/", 303)
        is_https = request.scope.get("scheme") == "https"
        done.set_cookie(
            COOKIE, access.cookie(user), SESSION, path=root + "/", httponly=True, samesite="strict", secure=is_https
        )
        return done

    async def log_out(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        done = RedirectResponse(root + _LOGIN, 303)
        done.delete_cookie(COOKIE, path=root + "/", httponly=True, samesite="strict")
        return done

    return [
        Route(_LOGIN, show, methods=["GET"]),
        Route(_LOGIN, log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]


async def _static(request: Request) -> Response:
    asset = assets().get(request.path_params["name"])
    if asset is None or request.path_params["hash"] != static_hash():
        return PlainTextResponse("There is no such file.\n", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.zipped, headers={**headers, "content-encoding": "gzip"}, media_type=asset.type)
    return Response(asset.content, headers=headers, media_type=asset.type)


async def _icon(request: Request) -> Response:
    icon = assets()["icon.svg"]
    return Response(icon.content, headers={"cache-control": "public, max-age=86400"}, media_type=icon.type)


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _theme(request: Request) -> Response:
    form = await read_form(request)
    root = request.scope.get("root_path", "")
    done = RedirectResponse(safe_path(form.back, root + "/"), 303)
    theme = form.get("theme")
    if theme in ("light", "dark"):
        done.set_cookie("aiotask_theme", theme, 365 * 86400, path=root + "/", samesite="strict", httponly=True)
    return done


# ---- errors, in words


def _handlers(site: Site) -> dict[Any, Callable[[Request, Any], Awaitable[Response]]]:
    async def on_http(request: Request, error: HTTPException) -> Response:
        titles = {404: "Not found", 405: "Not this way", 413: "Too large"}
        text = error.detail if error.detail != "Not Found" else "There is no such page here."
        return await site.error(request, error.status_code, titles.get(error.status_code, "Not possible"), text)

    async def on_not_allowed(request: Request, error: NotAllowed) -> Response:
        return await site.error(request, 403, "Not allowed", str(error))

    async def on_missing(request: Request, error: AiotaskError) -> Response:
        return await site.error(request, 404, "Not found", str(error))

    async def on_config(request: Request, error: ConfigError) -> Response:
        return await site.error(request, 400, "Not possible", str(error))

    async def on_broker(request: Request, error: Exception) -> Response:
        text = str(error) or f"The server did not answer in {_PAGE_TIMEOUT:.0f} s."
        return await site.error(request, 503, "The server cannot be reached", text)

    async def on_bug(request: Request, error: Exception) -> Response:
        logger.exception("A page ended with an error", exc_info=error)
        text = "This page ended with an error, which is in the log of the dashboard."
        return await site.error(request, 500, "An error in the dashboard", text)

    return {
        HTTPException: on_http,
        NotAllowed: on_not_allowed,
        NotFound: on_missing,
        ResultExpired: on_missing,
        BrokerError: on_broker,
        TimeoutError: on_broker,
        ConfigError: on_config,
        AiotaskError: on_config,
        Exception: on_bug,
    }


class Dashboard:
    """An ASGI app. ``close`` ends its bulk actions and closes its connections."""

    def __init__(self, site: Site) -> None:
        self.site = site
        access = site.access
        login = _LOGIN if isinstance(access, Users) else ""
        routes = [
            *(_page_route(site, path, page) for path, page in PAGES.items()),
            *_acts(site),
            *(_login(site, access) if isinstance(access, Users) else []),
            Route("/theme", _theme, methods=["POST"]),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/favicon.ico", _icon, methods=["GET"]),
            Route("/static/{hash}/{name:path}", _static, methods=["GET"]),
        ]

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await self.close()

        self._app = Starlette(
            routes=routes,
            middleware=[
                Middleware(Headers),
                Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
                Middleware(Guard, access=access, loopback=site.settings.loopback, login=login, refused=site.refused),
            ],
            exception_handlers=_handlers(site),
            lifespan=lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def close(self) -> None:
        await self.site.runs.close()
        await self.site.connections.close()


def dashboard(app: App | Place | None = None, *, access: Access, settings: Settings | None = None) -> Dashboard:
    """The dashboard as an ASGI app, to be mounted into one of FastAPI, Starlette or Django.

    Args:
        app: whose jobs it shows; a ``Place``: those of the apps there.
        access: says who a request comes from: a function that takes the ASGI scope and returns a ``Visitor``, or None
            to refuse the request; it may be async. There is no default: an open dashboard can cancel every job.
        settings: what it shows and allows.

    Raises:
        ConfigError: ``access`` is no function.
    """
    if not callable(access):
        raise ConfigError(
            f"access={access!r} is not a function. Give one that takes the ASGI scope and returns Visitor(name, may), "
            "or None to refuse the request."
        )
    settings = settings or Settings()
    place = app if isinstance(app, Place) else Place() if app is None else None
    own = app if isinstance(app, App) else None
    return Dashboard(Site(Connections(place, own, settings.hide), access, settings))
