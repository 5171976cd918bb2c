"""Traffic on a connection that redis-py has opened: commands out, replies in, with no task and no stream between."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

import redis.exceptions as wrong
from hiredis import Reader

__all__ = ["Line"]

#: Checks of a connection before it counts as silent.
_CHECKS = 4
#: The value of the parser for a reply that has not arrived completely.
_NOTHING = object()
_CLOSED = "Connection closed by server"


class Line(asyncio.Protocol):
    """Takes over the transport of an open connection.

    It sends one request at a time. What arrives outside a request goes to ``on_message``; without that it ends the
    connection, since it would answer the next request.
    """

    def __init__(self, connection: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = connection._writer.transport
        #: The protocol object of redis-py, which has to learn how the connection ends.
        self._former = self._transport.get_protocol()
        self._parser = Reader(
            protocolError=wrong.InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_NOTHING
        )
        #: Called with each message of a subscription.
        self.on_message: Callable[[Any], None] | None = None
        #: Number of times that data arrived, also parts of a message.
        self.pieces = 0
        #: Done with an error once nothing more will arrive.
        self.end: asyncio.Future[None] = self._loop.create_future()
        self._asked: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        #: Holds the error that a server sends at once to a client that it does not let in.
        self._early: asyncio.StreamReader | None = connection._reader
        self._transport.set_protocol(self)

    @property
    def over(self) -> bool:
        """Whether the other end has closed the connection; uvloop raises RuntimeError on a write to one."""
        return self.end.done() or bool(self._transport.is_closing())

    # ---- requests

    async def ask(self, packed: bytes, count: int, seconds: float) -> list[Any]:
        """Send ``count`` packed commands; their replies, of which each may be a ResponseError.

        Raises:
            TimeoutError: no data has moved for ``seconds``, in either direction. The whole exchange may take longer: a
                large reply on a slow line does, and a second attempt would take as long.
            ConnectionError: redis-py's; the connection broke.
        """
        asked: asyncio.Future[list[Any]] = self._loop.create_future()
        self._asked = asked
        self._replies, self._wanted = [], count
        silence = _Silence(seconds, self, self._loop)
        self._transport.write(packed)
        if self._early is not None:
            self._receive_early(self._early)
        try:
            return await asked
        finally:
            silence.end()
            self._asked = None

    def _receive_early(self, reader: Any) -> None:
        self._early = None
        if reader._buffer:
            self.data_received(bytes(reader._buffer))
        if reader._eof or reader.exception() is not None:
            self._finish(wrong.ConnectionError(_CLOSED))

    def send(self, packed: bytes) -> None:
        """Send a command whose reply arrives among the messages of a subscription."""
        self._transport.write(packed)

    def give_up(self, error: Exception) -> None:
        """Fail the request under way, if there is one, with this error."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)

    def count_unsent(self) -> int:
        """Bytes that the other end has not taken yet, as far as this system can tell."""
        unsent = 0
        with contextlib.suppress(Exception):
            unsent = self._transport.get_write_buffer_size()
            if sys.platform == "linux":
                fd = self._transport.get_extra_info("socket").fileno()
                unsent += struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4))[0]
        return unsent

    # ---- called by the transport

    def data_received(self, data: bytes) -> None:
        self.pieces += 1
        parser = self._parser
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _NOTHING:
                self._take(reply)
        except Exception as error:
            self._finish(error)
            self._transport.abort()

    def _take(self, reply: Any) -> None:
        asked = self._asked
        if asked is not None and self._wanted:
            self._replies.append(reply)
            self._wanted -= 1
            if isinstance(reply, wrong.ConnectionError):
                # The server's error before it closes the connection.
                raise reply
            if not self._wanted and not asked.done():
                asked.set_result(self._replies)
        elif self.on_message is not None and not isinstance(reply, Exception):
            self.on_message(reply)
        elif self.on_message is not None:
            # The server's error: instead of a reply to a ping (it is loading its data), or before it hangs up.
            raise reply
        else:
            raise wrong.ConnectionError(f"a reply to nothing: {reply!r:.100}")

    def eof_received(self) -> bool | None:
        self._finish(wrong.ConnectionError(_CLOSED))
        keep: bool | None = self._former.eof_received()
        return keep

    def connection_lost(self, error: Exception | None) -> None:
        reason = _CLOSED if error is None else f"Error while reading: {error}"
        self._finish(wrong.ConnectionError(reason))
        self._former.connection_lost(error)

    def pause_writing(self) -> None:
        self._former.pause_writing()

    def resume_writing(self) -> None:
        self._former.resume_writing()

    def _finish(self, error: Exception) -> None:
        if not self.end.done():
            self.end.set_exception(error)
            # Marks the error as seen: asyncio would log it where no caller reads it.
            self.end.exception()
        self.give_up(error)


class _Silence:
    """Fails a request once no data has moved for ``seconds``."""

    __slots__ = ("_ends", "_line", "_loop", "_pieces", "_seconds", "_timer", "_unsent")

    def __init__(self, seconds: float, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds, self._line, self._loop = seconds, line, loop
        # The bytes on their way out are first measured by the first check.
        self._pieces, self._unsent = line.pieces, -1
        self._ends = loop.time() + seconds
        self._timer = loop.call_later(seconds / _CHECKS, self._check)

    def end(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        now, arrived, unsent = self._loop.time(), self._line.pieces, self._line.count_unsent()
        if arrived != self._pieces or unsent < self._unsent:
            self._ends = now + self._seconds
        self._pieces, self._unsent = arrived, unsent
        if now >= self._ends:
            self._line.give_up(TimeoutError())
        else:
            self._timer = self._loop.call_at(min(self._ends, now + self._seconds / _CHECKS), self._check)
