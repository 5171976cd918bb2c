"""One connection to the server: commands in, raw replies out, every failure as an error of its own class.

redis-py's client would retry by itself (a script that ran before the connection broke would run twice) and parse
replies entry by entry; so redis-py only opens the connection, which a ``Line`` takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain, takewhile
from typing import Any

import redis.exceptions as wrong
from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ...errors import BrokerError, ConfigError, ConnectionLost, QueueFull
from ..shown import NO_ANSWER, hide_password
from ..technology import examples
from .diagnosis import name_wrong_key
from .protocol import Line
from .script import Script
from .topology import may_be_misfit, name_misfit

__all__ = ["UNNAMED", "Wire", "parse"]

Command = tuple[Any, ...]
#: No `CLIENT SETINFO`: redis-py would look up its version in the metadata of all that is installed, in every process.
UNNAMED = {"driver_info": None} if find_spec("redis.driver_info") else {"lib_name": None, "lib_version": None}


def parse(url: str, timeout: float) -> ConnectionPool:
    """redis-py's own reading of a URL (redis, rediss, unix; user, password, db, TLS options)."""
    ours = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # ``Line`` has the timeouts: redis-py returns None where a reply is late
        "socket_connect_timeout": timeout,
        "protocol": 2,
        "decode_responses": False,
        "health_check_interval": 0,
        **UNNAMED,
    }
    try:
        pool = ConnectionPool.from_url(url, **ours)
        # Options in the URL, which many clients share, would win otherwise.
        pool.connection_kwargs.update(ours)
        pool.connection_class(**pool.connection_kwargs)
        return pool
    except (ValueError, TypeError, wrong.RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        fault = f'there is no option "{unknown[1]}"' if unknown else str(error).rstrip(".")
        raise ConfigError(f'"{hide_password(url)}" is not a broker URL: {fault}. {examples()}') from None


#: Texts of errors about a wrong or missing user or password; redis-py wraps some of them in other errors.
_NOT_LET_IN = (
    *("NOAUTH", "WRONGPASS", "Authentication required", "invalid username-password", "AUTH called", "any password"),
    # The reply of a server, before the login, to a command with more than ten arguments.
    "unauthenticated",
)
#: Texts of errors about a command or key inside a script that this user may not use.
_NOT_ALLOWED = ("The user executing the script can't", "ACL failure in script")
#: The place in a script at the end of an error, which does not help a user.
_IN_SCRIPT = re.compile(r"\s*script:(?: [0-9a-f]{40},)? on @user_script:\d+\.?$")
#: Bytes of one argument up to which no server refuses it for its size.
_SMALL = 1_000_000


class Wire:
    """One connection, one command at a time, never repeated without the caller.

    Args:
        url: address of the server.
        timeout: seconds to connect, and of silence on the way to a reply.
        prefix: of the app's keys, so that an error can name the key at fault.
    """

    def __init__(self, url: str, *, timeout: float = 4.5, prefix: str = "") -> None:
        self.url = hide_password(url)
        self._prefix = prefix
        pool = parse(url, timeout)
        self._make: Callable[[], Any] = lambda: pool.connection_class(**pool.connection_kwargs)
        self._timeout = timeout
        self._connection: Any = None
        self._line: Line | None = None
        #: Number of connections made so far, and how often this object was closed.
        self.generation = self._closes = 0
        self._lock = asyncio.Lock()
        #: When an answer last timed out (monotonic), and the text of that error.
        self._silent: tuple[float, str] | None = None

    @property
    def connected(self) -> bool:
        return self._line is not None and not self._line.over

    async def call(self, *command: Any, timeout: float | None = None) -> Any:
        """The raw reply to one command.

        Args:
            timeout: seconds of silence after which to give up; None: the timeout of this object.

        Raises:
            ConnectionLost: no connection, or it broke; the command may or may not have run.
            QueueFull: the server has no memory left for it.
            BrokerError: the server refused it.
        """
        asked = time.monotonic()
        async with self._lock:
            self._refuse_after_silence(asked)
            return await self._exchange(command, timeout or self._timeout)

    async def run(self, script: Script, prefix: str, *args: Any) -> Any:
        """The reply of a script whose only key is the prefix."""
        asked = time.monotonic()
        async with self._lock:
            self._refuse_after_silence(asked)
            try:
                return await self._exchange(("EVALSHA", script.digest, 1, prefix, *args), self._timeout)
            except _NoScript:
                return await self._exchange(("EVAL", script.source, 1, prefix, *args), self._timeout)

    def _refuse_after_silence(self, asked: float) -> None:
        """Raise ConnectionLost if another command timed out since ``asked``, instead of waiting as long again."""
        if self._silent is not None and self._silent[0] > asked:
            raise ConnectionLost(self._silent[1])

    async def run_row(self, prefix: str, calls: Sequence[tuple[Script, Sequence[Any]]]) -> list[Any]:
        """The replies of several calls of scripts that go out together, up to the first that failed.

        The server runs the calls in their order, the later ones even where an earlier one failed.

        Raises:
            BrokerError: the first call failed, as for ``run``.
        """
        asked = time.monotonic()
        commands = [("EVALSHA", script.digest, 1, prefix, *args) for script, args in calls]
        async with self._lock:
            self._refuse_after_silence(asked)
            try:
                replies = await self._exchange(commands[0], self._timeout, commands[1:])
                return replies if len(commands) > 1 else [replies]
            except _NoScript:
                return [await self._exchange(("EVAL", calls[0][0].source, *commands[0][2:]), self._timeout)]

    async def run_pair(self, prefix: str, *calls: tuple[Script, Sequence[Any]]) -> list[Any]:
        """The replies of calls of different scripts that go out together; an error stands for a call that failed.

        Raises:
            ConnectionLost: as for ``run``.
        """
        asked = time.monotonic()
        commands = [("EVALSHA", script.digest, 1, prefix, *args) for script, args in calls]
        async with self._lock:
            self._refuse_after_silence(asked)
            replies: list[Any] = await self._ask(commands[0], self._timeout, commands[1:], errors=True)
            for n, (script, args) in enumerate(calls):
                if isinstance(replies[n], wrong.NoScriptError):
                    replies[n] = await self._exchange(("EVAL", script.source, 1, prefix, *args), self._timeout)
                elif isinstance(replies[n], wrong.ResponseError):
                    replies[n] = self._translate(replies[n])
        return replies

    async def listen(
        self, channel: str, on_message: Callable[[Any], None], on_subscribed: Callable[[], None], ping_every: float
    ) -> None:
        """Subscribe, and pass on every message until the connection ends; the connection then serves nothing else.

        Raises:
            ConnectionLost: the connection ended, or a ping was not answered.
        """
        async with self._lock:
            await self._ask(("SUBSCRIBE", channel), self._timeout, on_message=on_message)
        line = self._line
        assert line is not None
        on_subscribed()
        pinged, before = False, line.pieces
        while not (await asyncio.wait((line.end,), timeout=ping_every))[0]:
            if line.pieces != before:
                # A part of a large message on a slow line counts, too.
                pinged, before = False, line.pieces
            elif pinged:
                await self._drop()
                raise ConnectionLost(f'The subscription at "{self.url}" went silent.')
            else:
                line.send(pack_command(("PING",)))
                pinged = True
        error = line.end.exception()
        assert error is not None
        if (translated := self._translate(error)) is error:
            raise error
        raise translated from error

    async def _exchange(self, command: Command, timeout: float, behind: Sequence[Command] = ()) -> Any:
        try:
            return await self._ask(command, timeout, behind)
        except BrokerError as error:
            if self._prefix and "WRONGTYPE" in str(error):
                await self._refuse_type(command)
            if may_be_misfit(error):
                fault = await name_misfit(lambda *parts: self._ask(parts, self._timeout), self._prefix)
                if fault:
                    raise type(error)(f'The server at "{self.url}" {fault}') from None
            parts = chain(command, *behind)
            largest = max((len(part) for part in parts if isinstance(part, bytes)), default=0)
            if largest > _SMALL:
                # A server closes the connection on an argument that is too large, often before its error arrives.
                await self._refuse_size(largest)
            raise

    async def _refuse_size(self, size: int) -> None:
        """Raise BrokerError if one argument of ``size`` bytes is over the server's limit, or over the default limit."""
        limit = 512 * 1024 * 1024
        with contextlib.suppress(BrokerError, LookupError, ValueError):
            limit = int((await self._ask(("CONFIG", "GET", "proto-max-bulk-len"), self._timeout))[1])
        if size > limit:
            raise BrokerError(
                f'{size:,} bytes are more than the server at "{self.url}" takes in one value ({limit:,}: '
                "proto-max-bulk-len). Pass a path or an id instead of the data, or raise that limit."
            )

    async def _refuse_type(self, command: tuple[Any, ...]) -> None:
        """Raise BrokerError with the name of the key that has the wrong type, if one is found."""
        fault = ""
        with contextlib.suppress(BrokerError):
            fault = await name_wrong_key(lambda *parts: self._ask(parts, self._timeout), self._prefix, command)
        if fault:
            raise BrokerError(f'The server at "{self.url}" rejected a command (WRONGTYPE). {fault}.') from None

    async def _ask(
        self,
        command: Command,
        timeout: float,
        behind: Sequence[Command] = (),
        on_message: Callable[[Any], None] | None = None,
        *,
        errors: bool = False,
    ) -> Any:
        """The reply; with commands ``behind``, all replies up to the first that is an error, or ``errors`` too."""
        try:
            line = self._line
            if line is None or line.over:
                # A connection that was closed between two commands has lost nothing.
                await self._drop()
                line = await self._connect()
                line.on_message = on_message
            packed = b"".join(map(pack_command, (command, *behind))) if behind else pack_command(command)
            replies = await line.ask(packed, 1 + len(behind), timeout)
            if errors:
                return replies
            if isinstance(replies[0], wrong.ResponseError):
                raise replies[0]
            return list(takewhile(_is_answer, replies)) if behind else replies[0]
        except wrong.NoScriptError as error:
            raise _NoScript from error
        except wrong.ResponseError as error:
            # The server answered, so the connection is sound, unless the error is about the connection or the server.
            refused = self._translate(error)
            if isinstance(refused, ConnectionLost) or "Protocol error" in str(error):
                await self._drop()
            raise refused from None
        except GeneratorExit:
            # The loop is closed; nothing can be awaited any more.
            self.abandon()
            raise
        except BaseException as error:
            # Also on cancellation: a late reply must not answer the next command.
            await self._drop()
            translated = self._translate(error)
            if translated is error:
                raise
            if isinstance(error, TimeoutError):
                self._silent = time.monotonic(), str(translated)
            raise translated from error

    async def _connect(self) -> Line:
        connection, closes = self._make(), self._closes
        try:
            async with asyncio.timeout(self._timeout):
                # Not connect(), which retries, and which awaits in its cleanup even when its loop is closed.
                await connection.connect_check_health(check_health=False, retry_socket_connect=False)
        except GeneratorExit:
            _abandon(connection)
            raise
        except BaseException:
            await _close(connection)
            raise
        if self._closes != closes:
            await _close(connection)
            raise ConnectionLost(f'The connection to "{self.url}" was closed while it was being made.')
        self._connection, self._line = connection, Line(connection)
        self.generation += 1
        return self._line

    def _translate(self, error: BaseException) -> BaseException:
        text = _IN_SCRIPT.sub("", str(error)).rstrip(".")
        if isinstance(error, wrong.AuthenticationError) or any(word in text for word in _NOT_LET_IN):
            advice = "Put them into the URL: redis://user:password@host:6379/0"
            if "without any password" in text:
                text, advice = "it has none", "Leave it out of the URL, or set one at the server: requirepass"
            return BrokerError(f'The server at "{self.url}" rejected the user or password ({text}). {advice}.')
        if isinstance(error, wrong.NoPermissionError) or any(word in text for word in _NOT_ALLOWED):
            return BrokerError(
                f'The server at "{self.url}" does not permit this user a command or key that aiotask needs ({text}). '
                "Its administrator can: "
                "ACL SETUSER name ~aiotask1:* &aiotask1:* +@all -@dangerous +info +client."
            )
        if isinstance(error, wrong.OutOfMemoryError) or "OOM command not allowed" in text:
            return QueueFull(
                f'The server at "{self.url}" is out of memory and accepts no more jobs. '
                "Let workers drain it, or raise maxmemory."
            )
        if (
            isinstance(error, wrong.BusyLoadingError | wrong.ReadOnlyError)
            or text.startswith("BUSY ")
            or any(word in text for word in ("LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS", "UNBLOCKED", "MISCONF"))
        ):
            return ConnectionLost(f'The server at "{self.url}" is not ready: {text}.')
        if isinstance(error, wrong.InvalidResponse):
            return BrokerError(
                f'What answers at "{self.url}" is not a Redis or Valkey server. Check the host and the port.'
            )
        if isinstance(error, wrong.ResponseError) and ("SELECT" in text[:25] or "DB index" in text):
            return BrokerError(
                f'The server at "{self.url}" has no such database ({text.partition(",")[0]}). End the URL with one '
                "that it has: Sentinels and nodes of a cluster have /0 alone."
            )
        if isinstance(error, wrong.MovedError):
            # redis-py has cut off this word.
            text = f"MOVED {text}"
        if isinstance(error, wrong.ResponseError):
            return BrokerError(f'The server at "{self.url}" rejected a command: {text}.')
        # The error of uvloop for a connection that has just been closed.
        is_closed = isinstance(error, RuntimeError) and "handler is closed" in text
        if is_closed or isinstance(
            error, wrong.ConnectionError | wrong.TimeoutError | OSError | TimeoutError | EOFError
        ):
            silent = f"silence for {self._timeout:g} s" if isinstance(error, TimeoutError) else type(error).__name__
            return ConnectionLost(f'No answer from the broker at "{self.url}" ({text or silent}). {NO_ANSWER}')
        if isinstance(error, wrong.RedisError):
            return BrokerError(f'The server at "{self.url}" returned an error: {text}.')
        return error

    async def _drop(self) -> None:
        connection, self._connection, self._line = self._connection, None, None
        if connection is not None:
            await _close(connection)

    async def close(self) -> None:
        self._closes += 1
        await self._drop()

    def abandon(self) -> None:
        """Close the socket without its loop (which has ended, or belongs to the parent of this fork)."""
        connection, self._connection, self._line = self._connection, None, None
        _abandon(connection)


class _NoScript(Exception):
    """The server does not have the script (any more)."""


def _is_answer(reply: Any) -> bool:
    return not isinstance(reply, wrong.ResponseError)


def _abandon(connection: Any) -> None:
    writer = getattr(connection, "_writer", None)
    if writer is None:
        return
    connection._writer = connection._reader = None
    transport = writer.transport
    with contextlib.suppress(Exception):
        if hasattr(transport, "_sock"):
            # asyncio's transport and its stream would warn in __del__ that they were not closed.
            transport._sock.close()
            transport._sock = None
            transport._closing = True
        else:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, transport.get_extra_info("socket").fileno())
            os.close(null)


async def _close(connection: Any) -> None:
    writer = getattr(connection, "_writer", None)
    if writer is None:
        return
    connection._writer = connection._reader = None
    with contextlib.suppress(Exception):
        # No data has to arrive any more, and a TLS shutdown could outlast the loop.
        writer.transport.abort()
        await asyncio.sleep(0)
