"""TLS, user and password: a real handshake with a certificate of our own, in front of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from aiotask import App, BrokerError

from .server import PrivateServer


@contextlib.asynccontextmanager
async def tls_in_front_of(
    socket: Path, authority: trustme.CA, *, asks_for_a_certificate: bool = False
) -> AsyncIterator[int]:
    """A port on loopback that speaks TLS and passes the bytes on; every connection is closed at the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if asks_for_a_certificate:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    writers: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(socket))
        writers.extend((writer, inner_writer))
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_a_url_with_tls_user_and_password_carries_jobs_and_results(
    own_server: PrivateServer, app_name: str, tmp_path: Path
) -> None:
    own_server.call("ACL", "SETUSER", "shop", "on", ">pass:word", "~*", "&*", "+@all")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async with tls_in_front_of(own_server.socket, authority) as port:
        account = f"shop:{quote('pass:word', safe='')}"
        app = App(app_name, url=f"rediss://{account}@localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem")

        @app.task
        def double(number: int) -> int:
            return 2 * number

        async with app, app.worker():
            assert await asyncio.gather(*(double.apply_async(n) for n in range(50))) == [2 * n for n in range(50)]
            assert "word" not in app.broker_url


async def test_a_certificate_that_nobody_vouches_for_is_refused(own_server: PrivateServer, app_name: str) -> None:
    async with tls_in_front_of(own_server.socket, trustme.CA()) as port:
        app = App(app_name, url=f"rediss://localhost:{port}/0")

        with pytest.raises(BrokerError, match="certificate"):
            await app.client.session().broker.open()
        await app.client.close()


async def test_jobs_sent_to_an_account_that_is_refused_end_with_the_reason(
    own_server: PrivateServer, app_name: str
) -> None:
    own_server.call("ACL", "SETUSER", "default", "on", "resetpass", ">right", "~*", "&*", "+@all")
    app = App(app_name, url=f"unix://:wrong@{own_server.socket}")

    @app.task
    def nothing() -> None: ...

    with pytest.raises(BrokerError, match="user or password"):
        await nothing.apply_async()
    await app.client.close()
