"""The proxy itself: each fault does what it says, in the direction it names, and heals."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.helpers import wait_until
from tests.server import PrivateServer

from .faults.proxy import Proxy


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    server = PrivateServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def proxy(server: PrivateServer) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


@contextlib.contextmanager
def connected(proxy: Proxy, timeout: float = 10.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout) as line:
        yield line


def ask(line: socket.socket, what: bytes = b"PING\r\n", answer: bytes = b"+PONG\r\n") -> float:
    """Seconds until the whole answer was there."""
    started, got = time.monotonic(), b""
    line.sendall(what)
    while len(got) < len(answer):
        piece = line.recv(65536)
        assert piece, f"closed after {got!r}"
        got += piece
    assert got == answer
    return time.monotonic() - started


def bulk(size: int) -> tuple[bytes, bytes]:
    """A command and its reply of ``size`` bytes: few one way, many the other."""
    return b"GETRANGE big 0 %d\r\n" % (size - 1), b"$%d\r\n%s\r\n" % (size, b"x" * size)


def test_it_passes_everything_and_counts(proxy: Proxy, server: PrivateServer) -> None:
    server.call("SET", "big", "x" * 3_000_000)
    with redis.Redis.from_url(proxy.url) as client:
        assert client.get("big") == b"x" * 3_000_000
        client.set("back", b"y" * 2_000_000)
        assert proxy.open == 1 == proxy.accepted
    assert server.call("STRLEN", "back") == 2_000_000
    assert proxy.passed("down") > 3_000_000 and proxy.passed("up") > 2_000_000
    wait_until(lambda: proxy.open == 0, description="the end of the client reaches the server")
    wait_until(lambda: server.call("CLIENT", "LIST").count(b"\n") == 1, description="the server sees only its operator")


def test_delay_and_throttle_cost_time_in_their_direction_until_healed(proxy: Proxy, server: PrivateServer) -> None:
    server.call("SET", "big", "x" * 100_000)
    with connected(proxy) as line:
        ask(line)
        with proxy.delay(0.1, jitter=0.05):
            assert ask(line) >= 0.2
        with proxy.throttle(200_000, direction="down"):
            assert ask(line, *bulk(50_000)) >= 0.25
        with proxy.throttle(200_000, direction="up"):
            echo = b"$50000\r\n%s\r\n" % (b"z" * 50_000)
            assert ask(line, b"*2\r\n$4\r\nPING\r\n" + echo, echo) >= 0.25
        proxy.delay(1000.0)
        line.sendall(b"PING\r\n")
        wait_until(lambda: proxy.open == 1, description="it is on its way")
        proxy.heal()  # what is under way need not wait out the old delay
        assert line.recv(100) == b"+PONG\r\n"
        ask(line)


def test_a_connection_that_is_cut_ends_in_the_middle(proxy: Proxy, server: PrivateServer) -> None:
    server.call("SET", "big", "x" * 100_000)
    with connected(proxy) as line, proxy.truncate(1_000, direction="down"):
        line.sendall(bulk(100_000)[0])
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := line.recv(65536):
                got += piece
        assert len(got) == 1_000
    with connected(proxy) as line:
        ask(line, *bulk(100_000))
    with connected(proxy) as line, proxy.truncate(10, direction="up"):
        line.sendall(b"SET cut 0123456789\r\n")
        assert line.recv(100) == b""
    assert server.call("EXISTS", "cut") == 0


def test_a_half_open_connection_hears_nothing_and_stays_deaf(proxy: Proxy, server: PrivateServer) -> None:
    with connected(proxy, timeout=0.1) as line, connected(proxy, timeout=0.1) as later:
        with proxy.swallow("down"):
            line.sendall(b"INCR seen\r\n")
            with pytest.raises(TimeoutError):
                line.recv(1)
            wait_until(lambda: proxy.swallowed("down") > 0, description="the answer is swallowed")
        assert server.call("GET", "seen") == b"1"
        with proxy.swallow("up"):
            later.sendall(b"INCR seen\r\n")
            wait_until(lambda: proxy.swallowed("up") > 0, description="the question is swallowed")
        assert server.call("GET", "seen") == b"1"
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)
    with connected(proxy) as line:
        ask(line)


def test_what_is_held_arrives_after_the_healing(proxy: Proxy) -> None:
    with connected(proxy, timeout=0.1) as line:
        with proxy.hold():
            line.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                line.recv(1)
        line.settimeout(10)
        assert line.recv(100) == b"+PONG\r\n"


def test_reset_and_refusal(proxy: Proxy) -> None:
    with connected(proxy) as line:
        ask(line)
        with proxy.refuse():
            ask(line)  # open ones live on
            assert proxy.reset() == 1
            with pytest.raises(ConnectionResetError):
                line.recv(1)
            with pytest.raises(ConnectionRefusedError), connected(proxy):
                pass
    with connected(proxy) as line:  # on the same port
        ask(line)


def test_it_listens_in_front_of_a_tcp_server_too_and_without_a_server_it_hangs_up(server: PrivateServer) -> None:
    with Proxy(server.url) as inner, Proxy(f"redis://user:word@127.0.0.1:{inner.port}/3") as outer:
        assert outer.url == f"redis://user:word@127.0.0.1:{outer.port}/3"
        with connected(outer) as line:
            ask(line)
        inner.stop()
        with connected(outer) as line:
            assert line.recv(1) == b""


def test_it_ends_with_its_owner(server: PrivateServer, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = os.fork()
    if child == 0:
        proxy = Proxy(server.url).start()
        assert proxy._process is not None
        note.write_text(f"{proxy._process.pid} {proxy.port}")
        os._exit(0)
    os.waitpid(child, 0)
    pid, port = map(int, note.read_text().split())

    def gone() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return False
        return True

    wait_until(gone, description=f"the proxy {pid} of an ended test ends")
