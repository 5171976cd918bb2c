"""``aiotask queues``: counts of every queue, and who works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from .options import AppName, Json, Url, option
from .output import ago, console, plain, print_json, table

if TYPE_CHECKING:
    from aiotask.inspector import QueueInfo, WorkerInfo

__all__ = ["queues"]

COUNTS = ("pending", "running", "scheduled", "parked", "dead", "consumers")


Everything = Annotated[bool, option("--all", "-a", metavar="", help="Show apps without workers and jobs, too.")]


def queues(name: AppName = None, everything: Everything = False, url: Url = None, as_json: Json = False) -> None:
    """Show how many jobs each queue holds, and which workers are live.

    Apps without workers and jobs are left out unless --all or --name is given.

    [bold]Examples[/bold]

      aiotask queues
      aiotask queues --name shop --url redis://localhost:6379
      aiotask queues --json | jq '.[].queues[] | select(.dead > 0)'
    """
    import asyncio

    apps, idle = asyncio.run(_gather(name, url, everything))
    if as_json:
        print_json([_as_json(app) for app in apps])
        return
    if not apps and not idle:
        console().print("No app has used this server yet. Send a job, or start a worker: aiotask worker your.module")
    for app in apps:
        _show(app)
    if idle:
        shown = f"Apps without workers and jobs: {plain(', '.join(idle), 500)}. Show them: aiotask queues --all"
        console().print(f"[dim]{shown}[/dim]", soft_wrap=True)


async def _gather(name: str | None, url: str | None, everything: bool) -> tuple[list[dict[str, Any]], list[str]]:
    from .connection import inspectors, without_idle

    async with inspectors(name, url) as opened:
        shown, idle = (opened, []) if everything or name else await without_idle(opened)
        return [
            {
                "app": each.app.name,
                "url": each.app.broker_url,
                "queues": await each.inspector.queues(),
                "workers": await each.inspector.workers(),
                "rejected": await each.inspector.rejected(),
            }
            for each in shown
        ], idle


def _as_json(app: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    return {
        **app,
        "queues": [msgspec.structs.asdict(queue) for queue in app["queues"]],
        "workers": [msgspec.structs.asdict(worker) for worker in app["workers"]],
    }


def _show(app: dict[str, Any]) -> None:
    terminal = console()
    made = table(f"{plain(app['app'])} at {plain(app['url'])}", "queue", *COUNTS, right=COUNTS)
    for queue in app["queues"]:
        made.add_row(plain(queue.name), *(_count(queue, column) for column in COUNTS))
    terminal.print(made)
    if app["rejected"]:
        terminal.print(
            f"[yellow]{app['rejected']:,} messages without a valid seal of this app were set aside.[/yellow]"
        )
    if app["workers"]:
        _show_workers(app["workers"])
    else:
        waiting = ": jobs wait" if any(queue.pending for queue in app["queues"]) else ""
        terminal.print(f"[yellow]No worker is live{waiting}.[/yellow] Start one: aiotask worker your.module\n")


def _count(queue: QueueInfo, column: str) -> str:
    count = getattr(queue, column)
    if not count:
        return "[dim]0[/dim]"
    colour = {"dead": "red", "parked": "yellow", "running": "green"}.get(column)
    return f"[{colour}]{count:,}[/{colour}]" if colour else f"{count:,}"


def _show_workers(workers: list[WorkerInfo]) -> None:
    made = table("workers", "worker", "host", "pid", "Python", "since", "tasks", "queues", right=("pid", "tasks"))
    for worker in sorted(workers, key=lambda each: each.incarnation):
        facts: dict[str, Any] = worker.facts
        made.add_row(
            plain(worker.incarnation),
            plain(facts.get("host", worker.host)),
            plain(facts.get("pid", "")),
            plain(facts.get("python", "")),
            ago(facts.get("since")),
            f"{len(facts.get('tasks', ())):,}",
            plain(", ".join(map(str, facts.get("queues", ()))), 300),
        )
    console().print(made)
