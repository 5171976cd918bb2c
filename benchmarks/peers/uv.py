"""uvloop for a peer that takes the event loop of the process."""

from __future__ import annotations

import asyncio

import uvloop

__all__ = ["use_uvloop"]


def use_uvloop() -> None:
    """Loops that are made from now on are fast ones; peers make theirs themselves, so there is no other way."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
