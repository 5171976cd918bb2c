"""One page of the overview as plain text."""

from __future__ import annotations

import asyncio

from aiotask.errors import BrokerError

from .page import Where, cell
from .session import Session

__all__ = ["once"]

#: Seconds that reading may take.
_TIMEOUT = 20.0


def once(session: Session, width: int) -> str:
    """The overview as it is now, in lines of at most ``width`` characters.

    Raises:
        AiotaskError: the server cannot be reached, or no app is there.
    """

    async def read() -> str:
        try:
            async with asyncio.timeout(_TIMEOUT):
                page = (await session.read(Where("overview")))(width)
        except TimeoutError:
            raise BrokerError(
                f"The server has not answered for {_TIMEOUT:.0f} s. See what is wrong: aiotask doctor"
            ) from None
        finally:
            await session.close()
        head = cell(f"{session.app}  {page.title}  {session.server}")
        head.truncate(width, overflow="ellipsis")
        return "\n".join([head.plain.rstrip(), "", *(line.text.plain.rstrip() for line in page.lines)])

    return asyncio.run(read())
