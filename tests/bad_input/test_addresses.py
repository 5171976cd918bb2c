"""Addresses that are wrong, not to be trusted, or of something that is no server."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from aiotask import App, BrokerError, ConfigError
from aiotask.brokers.shown import hide_password

from .jobs import AFAR, add

URLS = {
    "http://user:hunter2@localhost:80": "it does not begin with one of redis://",
    "localhost:6379": "it does not begin with one of redis://",
    "redis+sentinel://localhost": "it does not begin with",
    "redis://localhost:abc": "its port is not a number",
    "redis://localhost:99999": "its port is not a number",
    "redis://localhost:6379/shop": "a database number",
    "redis://[::1": "its host cannot be parsed",
    "redis://user:hunter2#x@localhost": "write %23 for #",
    "redis://user:hunter2/x@localhost": "write %23 for #, %2F for /",
    "unix://": "the path of a socket is absolute",
    "unix://relative/path": "the path of a socket is absolute",
    "redis://localhost?no_such_option=1&password=hunter2": 'there is no option "no_such_option"',
    "redis://localhost?socket_timeout=abc": "Invalid value for 'socket_timeout'",
}


@pytest.mark.parametrize("url", URLS)
async def test_what_is_no_broker_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(URLS[url])) as raised:
        await App("refused", url=url).task(add).apply_async(1)
    assert "hunter2" not in str(raised.value)
    assert f'"{hide_password(url)}"' in str(raised.value)


async def test_blanks_around_a_url_are_nothing_of_it(
    redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_URL", f" {redis_url}\n")
    for app in (App(app_name), App(app_name, url=f"\t{redis_url} ")):
        task = app.task(add)
        async with app, app.worker():
            assert await task.apply_async(1) == 2
        assert app.broker_url == redis_url


async def test_options_of_a_url_that_other_clients_read_do_no_harm(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=f"{redis_url}?decode_responses=True&protocol=3&socket_timeout=0.001")
    task = app.task(add)
    async with app, app.worker():
        assert await task.apply_async(1) == 2


@pytest.mark.parametrize("url", [AFAR, "rediss://192.0.2.1", "redis://?host=192.0.2.1", "redis://example.invalid"])
async def test_an_address_of_the_network_needs_a_secret(url: str) -> None:
    app = App("refused", url=url)
    with pytest.raises(ConfigError, match=r"can be reached from other machines.+AIOTASK_SECRET=") as raised:
        await app.task(add).apply_async(1)
    assert "hunter2" not in str(raised.value)


@contextmanager
def a_tcp_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens and is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                behave(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://user:hunter2@127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def speaks_http(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def hangs_up(connection: socket.socket) -> None:
    return


async def test_every_wait_for_what_is_no_server_ends_with_the_address_and_without_the_password() -> None:
    with ExitStack() as stack:
        urls = [
            ("redis://user:hunter2@127.0.0.1:1", "No answer from the broker"),
            (
                stack.enter_context(a_tcp_server(speaks_http)),
                "is not a Redis or Valkey server. Check the host and the port",
            ),
            (stack.enter_context(a_tcp_server(says_nothing)), "No answer from the broker"),
            (stack.enter_context(a_tcp_server(hangs_up)), "No answer from the broker"),
        ]
        async with asyncio.timeout(30):
            await asyncio.gather(*(_every_verb_fails(url, message) for url, message in urls))


async def _every_verb_fails(url: str, message: str) -> None:
    app = App("nobody", url=url)
    task = app.task(add)

    async def opened() -> None:
        async with app:
            raise AssertionError("there is nothing to open")

    async def in_a_row() -> None:
        with pytest.raises(BrokerError) as raised:
            await task.apply_async(1)
        if "silence" in str(raised.value):
            raise raised.value
        # This one is handed over in the very tick in which the first was refused.
        await task.apply_async(1).sent()

    verbs: list[Coroutine[Any, Any, Any]] = [
        in_a_row(),
        opened(),
        app.result("any").wait(),
        app.result("any").status(),
        app.result("any").cancel(),
    ]
    for error in await asyncio.gather(*verbs, return_exceptions=True):
        assert isinstance(error, BrokerError), error
        assert message in str(error) and hide_password(url) in str(error) and "hunter2" not in str(error)
