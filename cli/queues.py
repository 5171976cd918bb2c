"""``aiotask queues``: counts of every queue, and who works; and emptying one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bulk import DryRun, act
from .filters import OfTask
from .group import ByDefault, add
from .options import AppName, Database, Json, Url, Yes, option
from .output import ago, console, plain, print_json, table
from .pauses import pause_queue, resume_queue, show_pauses

if TYPE_CHECKING:
    from aiotask.inspector import QueueInfo, WorkerInfo
    from aiotask.ops.overview import AppOverview

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="Show how many jobs each queue holds and which workers are live; pause or empty a queue.",
    rich_markup_mode="rich",
)

COUNTS = ("pending", "running", "scheduled", "parked", "dead", "consumers")


Everything = Annotated[bool, option("--all", "-a", help="Show apps without workers and jobs, too.")]


def list_(
    name: AppName = None,
    everything: Everything = False,
    url: Url = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Show how many jobs each queue holds, and which workers are live.

    Paused queues are shown with who paused them and why; see aiotask queues pause --help. Apps without workers and
    jobs are left out unless --all or --name is given. With --database, the tables whose rows are jobs are shown too;
    counts above 10,000 may be estimates there, such as ~51,200.

    [bold]Examples[/bold]

      aiotask queues
      aiotask queues --name shop --url redis://localhost:6379
      aiotask queues --database sqlite:///shop.db
      aiotask queues --json | jq '.[].queues[] | select(.dead > 0)'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.overview import overview

    apps, idle = asyncio.run(overview(Place(name, url, database), everything))
    if as_json:
        print_json([app.described() for app in apps])
        return
    if not apps and not idle:
        where = "No app was found, and no table whose rows are jobs" if database else "No app has used this server yet"
        console().print(f"{where}. Send a job, or start a worker: aiotask worker your.module")
    for app in apps:
        _show(app)
    if idle:
        shown = f"Apps without workers and jobs: {plain(', '.join(idle), 500)}. Show them: aiotask queues --all"
        console().print(f"[dim]{shown}[/dim]", soft_wrap=True)


QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]


def purge(
    queue: QueueName,
    task: OfTask = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Cancel the pending jobs of a queue.

    Running jobs are left alone, and so are those that are scheduled, retrying, parked or waiting for others: end them
    with [bold]aiotask cancel --queue[/bold]. The callers that await a job get JobCancelled.

    The command may be interrupted and repeated. Jobs that are sent after it began stay in the queue.

    [bold]Examples[/bold]

      aiotask queues purge mail
      aiotask queues purge mail --dry-run
      aiotask queues purge default --task shop.tasks:render --yes
    """
    from aiotask.ops.bulk import Action
    from aiotask.ops.connection import Place

    act(Action.PURGE, (None, queue, task, ""), Place(name, url), yes=yes, dry_run=dry_run, as_json=as_json)


def show(queue: QueueName, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show one queue: its counts, who paused it, and what waits in it by task.

    Where many jobs wait, the tasks are estimated from about 200 of them that are spread over the times at which they
    came.

    [bold]Examples[/bold]

      aiotask queues show mail
      aiotask queues show mail --json | jq '.[].tasks'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.queues import read_queue

    found = asyncio.run(read_queue(Place(name, url), queue))
    if as_json:
        return print_json(found)
    for each in found:
        _show_one(each)


def _show_one(queue: dict[str, Any]) -> None:
    from aiotask.log.events import in_words

    terminal = console()
    oldest = f", the oldest for {in_words(queue['oldest'])}" if queue["oldest"] is not None else ""
    counts = ", ".join(f"{queue[column]:,} {column}" for column in COUNTS if queue[column] or column == "pending")
    terminal.print(f"[bold]{plain(queue['name'])}[/bold] of {plain(queue['app'])}: {counts}{oldest}", soft_wrap=True)
    if pause := queue["pause"]:
        why = f": {plain(pause['why'], 1000)}" if pause["why"] else ""
        terminal.print(f"[yellow]Paused by {plain(pause['by'])}, {ago(pause['at'])}{why}.[/yellow]", soft_wrap=True)
    elif queue["paused"]:
        terminal.print("[yellow]Everything is paused.[/yellow] See aiotask queues")
    if not queue["tasks"]:
        return
    waiting = max(queue["pending"], 1)
    is_all = queue["looked"] >= queue["pending"]
    title = "in it" if is_all else f"about, from {queue['looked']:,} of {queue['pending']:,}"
    made = table(title, "task", "jobs", "share", right=("jobs", "share"))
    for task, number in queue["tasks"].items():
        made.add_row(plain(task, 300), f"{'' if is_all else '~'}{number:,}", f"{100 * number / waiting:.0f} %")
    terminal.print(made)


def _show(app: AppOverview) -> None:
    terminal = console()
    title = f"{plain(app.app) or 'rows'} at {plain(app.url)}"
    made = table(title, "queue", *COUNTS, right=COUNTS)
    for queue in app.queues:
        paused = " [yellow](paused)[/yellow]" if queue.paused else ""
        made.add_row(plain(queue.name) + paused, *(_count(queue, column) for column in COUNTS))
    terminal.print(made)
    show_pauses(app.pauses)
    if (unfinished := app.graphs).graphs:
        count = f"{unfinished.graphs:,} graph{' is' if unfinished.graphs == 1 else 's are'} unfinished"
        terminal.print(f"{count}, with {unfinished.left:,} jobs left. See aiotask graphs\n")
    if app.rejected:
        what = "1 message" if app.rejected == 1 else f"{app.rejected:,} messages"
        was = "was" if app.rejected == 1 else "were"
        terminal.print(f"[yellow]{what} without a valid seal of this app {was} set aside.[/yellow]")
    if app.workers:
        _show_workers(app.workers)
    else:
        waiting = ": jobs wait" if any(queue.pending for queue in app.queues) else ""
        terminal.print(f"[yellow]No worker is live{waiting}.[/yellow] Start one: aiotask worker your.module\n")


def _count(queue: QueueInfo, column: str) -> str:
    count = getattr(queue, column)
    if not count:
        return "[dim]0[/dim]"
    shown = f"~{count:,}" if column in queue.estimates else f"{count:,}"
    colour = {"dead": "red", "parked": "yellow", "running": "green"}.get(column)
    return f"[{colour}]{shown}[/{colour}]" if colour else shown


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
            plain(facts.get("order") or ", ".join(map(str, facts.get("queues", ()))), 300),
        )
    console().print(made)


add(app, list_, name="list")
add(app, show)
add(app, purge)
add(app, pause_queue, name="pause")
add(app, resume_queue, name="resume")
