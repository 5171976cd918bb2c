"""A worker whose server is far away: it claims many jobs with one question, in the order of their priorities."""

from __future__ import annotations

from typing import Any

from aiotask import App, gather

from .chaos.faults.proxy import Proxy
from .server import PrivateServer


def reads(server: PrivateServer) -> int:
    """How often jobs were read from a lane."""
    stats: Any = server.call("INFO", "commandstats")
    return int(stats.get("cmdstat_xreadgroup", {"calls": 0})["calls"])


async def test_a_worker_that_was_idle_claims_what_has_come_meanwhile_in_one_piece(
    own_server: PrivateServer, app_name: str
) -> None:
    ran: list[int] = []

    async def note(priority: int) -> None:
        ran.append(priority)

    with Proxy(own_server.url) as proxy, proxy.delay(0.005):
        near, far = App(app_name, url=own_server.url), App(app_name, url=proxy.url)
        notes = [near.register_task(note, name="note").options(priority=priority) for priority in range(10)]
        far.register_task(note, name="note")
        async with near, far.worker():
            await notes[5].apply_async(5)
            before = reads(own_server)
            await gather(notes[5].apply_async(5) for _ in range(250))
            one_lane = reads(own_server) - before
            ran.clear()
            before = reads(own_server)
            # All of them in one batch, so that whoever reads sees either none or all.
            await gather(notes[n % 10].apply_async(n % 10) for n in range(250))
            ten_lanes = reads(own_server) - before

    # Fifty at a time; the first ones by the read that waited, which brings one, or one of each lane.
    assert one_lane < 50
    assert ten_lanes < 60
    assert len(ran) == 250
    assert ran[40:] == sorted(ran[40:]), "by priority"
