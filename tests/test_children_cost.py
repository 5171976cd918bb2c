"""What the jobs of a job cost the server in commands: as much as any others, though their ids may be known to it."""

from __future__ import annotations

from aiotask import App

from .server import PrivateServer
from .test_server_cost import commands

#: What ``commands`` divides by.
_JOBS = 10_000


async def test_what_a_child_costs_the_server_in_commands(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)

    @app.task(name="shop.tasks:noop", queue="children")
    async def noop(n: int) -> None: ...

    @app.task(name="shop.tasks:parent")
    async def parent() -> None:
        for n in range(_JOBS):
            noop.apply_async(n)
        await app.flush()

    async with app:
        async with app.worker(queues=["default"]):
            await noop.apply_async(0).sent()
            commands(own_server)
            await parent.apply_async()
            scripts, others = commands(own_server)
        # A batch of 250 looks for all of its ids in two commands. The worker's own rounds are among these, too.
        assert scripts <= 0.02, f"{scripts:.4f} scripts to send a child"
        assert others <= 1.3, f"{others:.3f} commands to send a child"

        async with app.worker(queues=["children"], burst=True) as worker:
            await worker.finished()
        scripts, others = commands(own_server)
        assert others <= 2.5, f"{others:.3f} commands to run a child"
