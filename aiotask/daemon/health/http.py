"""The answers to probes: as much of HTTP/1.1 as a ``GET`` of three short pages needs, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus

from ...ops.metrics import CONTENT_TYPE
from .health import Report

__all__ = ["Probes"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds that a client has for its request and for taking the answer.
CLIENT_TIMEOUT = 5.0
#: Bytes of a request; clients at a time. For one more the oldest is closed: it was answered long ago, or never asks.
REQUEST_BYTES, CLIENTS = 8192, 64
#: The first line of a request for metrics.
_METRICS = re.compile(rb"(?:GET|HEAD) /metrics/?(?:\?\S*)? HTTP/1\.\d\r\n")


class Probes:
    """Serves ``/live``, ``/ready``, ``/`` and ``/metrics`` on listening sockets.

    Args:
        report: makes the report that is shown.
        metrics: makes the text of ``/metrics``; None: there is no such page.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        report: Callable[[], Report],
        metrics: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._sockets = sockets
        self._report = report
        self._metrics = metrics
        self._clients: dict[asyncio.WriteTransport, None] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            for each in self._sockets:
                # Without the context of the server, whose end waits for every client.
                server = await asyncio.start_server(self._serve, sock=each.dup(), limit=REQUEST_BYTES)
                stack.callback(server.close)
            await asyncio.Event().wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer.transport] = None
        if len(self._clients) > CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.abort()
        try:
            with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(CLIENT_TIMEOUT):
                    await self._answer(reader, writer)
        except Exception:
            logger.exception("A probe could not be answered.")
        finally:
            self._clients.pop(writer.transport, None)
            # The system has taken what could be answered; no client is waited for any longer.
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            reply, body = _reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too long.\n")
            writer.write(reply + body)
        else:
            writer.write(await self._metrics_reply(request) or self.reply(request))
        await writer.drain()
        writer.write_eof()
        # The client closes first: a close by the server could take the answer away from a slow reader.
        while await reader.read(REQUEST_BYTES):
            pass

    async def _metrics_reply(self, request: bytes) -> bytes:
        """The answer to a request for metrics; empty: it is another one."""
        if self._metrics is None or not _METRICS.match(request):
            return b""
        head, body = _reply(HTTPStatus.OK, await self._metrics(), kind=CONTENT_TYPE)
        return head if request.startswith(b"HEAD") else head + body

    def reply(self, request: bytes) -> bytes:
        """The whole answer to the head of a request."""
        method, _, rest = request.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            head, body = _reply(HTTPStatus.BAD_REQUEST, "This is not HTTP/1.1.\n")
        elif method not in ("GET", "HEAD"):
            head, body = _reply(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD.\n", "Allow: GET, HEAD")
        else:
            head, body = self._page(target.partition("?")[0].rstrip("/"))
        return head if method == "HEAD" else head + body

    def _page(self, path: str) -> tuple[bytes, bytes]:
        if path not in ("", "/live", "/ready"):
            return _reply(HTTPStatus.NOT_FOUND, "Not found. Use /live, /ready, /metrics or /.\n")
        report = self._report()
        if not path:
            return _reply(HTTPStatus.OK, json.dumps(asdict(report)) + "\n", kind="application/json")
        well = report.live if path == "/live" else report.ready
        text = path[1:] if well else " ".join(report.why)
        return _reply(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, text + "\n")


def _reply(
    status: HTTPStatus, text: str, *headers: str, kind: str = "text/plain; charset=utf-8"
) -> tuple[bytes, bytes]:
    """Head and body."""
    body = text.encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode(), body
