"""``pause`` and ``resume`` of ``aiotask queues`` and ``aiotask tasks``, and the list of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .group import ByDefault, add
from .options import AppName, Json, Url, option
from .output import ago, console, informative, page_table, plain, print_error, print_json

if TYPE_CHECKING:
    from aiotask.brokers.pauses import Pause

__all__ = ["pause_queue", "resume_queue", "show_pauses", "tasks_app"]

QueueName = Annotated[str, typer.Argument(metavar="[QUEUE]", help="Name of the queue.")]
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Name of the task, as in logs.")]
Where = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARG OP VALUE]",
        help="Only calls for which this is true. Operators: ==, !=, <, <=, >, >=, in. Quote < and >.",
    ),
]
Everything = Annotated[bool, option("--all", help="Every queue and every task.")]
Why = Annotated[str, option("--why", metavar="TEXT", help="The reason, for those who find it paused.")]


def pause_queue(
    queue: QueueName = "",
    everything: Everything = False,
    why: Why = "",
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Start no further jobs of a queue until it is resumed.

    Running jobs finish as usual. Waiting jobs keep their places, even across deploys and restarts, and new jobs are
    accepted. The time that expires= allows them keeps running.

    [bold]Examples[/bold]

      aiotask queues pause mail --why "the mail server moves"
      aiotask queues pause --all --name shop
    """
    _change(queue, "", "", everything, why, name, url, as_json, resume=False)


def resume_queue(
    queue: QueueName = "",
    everything: Everything = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Let the jobs of a paused queue start again.

    --all ends a pause that was begun with --all; queues and tasks that were paused one by one stay paused. The exit
    code is 1 if the queue was not paused.

    [bold]Examples[/bold]

      aiotask queues resume mail
      aiotask queues resume --all --name shop
    """
    _change(queue, "", "", everything, "", name, url, as_json, resume=True)


def pause_task(
    task: TaskName,
    where: Where = None,
    why: Why = "",
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Start no further jobs of a task, or of its calls for which a condition is true, until it is resumed.

    Workers park such jobs: aiotask jobs --status parked lists them. VALUE is a Python literal, otherwise text; in
    takes a list, or texts separated by commas.

    [bold]Examples[/bold]

      aiotask tasks pause shop.tasks:render --why "pages come out blank"
      aiotask tasks pause shop.tasks:render tenant == acme
      aiotask tasks pause shop.tasks:render size '>' 1000
      aiotask tasks pause shop.tasks:render tenant in acme,umbrella
    """
    _change("", task, " ".join(where or ()), False, why, name, url, as_json, resume=False)


def resume_task(
    task: TaskName, where: Where = None, name: AppName = None, url: Url = None, as_json: Json = False
) -> None:
    """End a pause that was begun with the same arguments; the parked jobs run, the oldest first.

    The exit code is 1 if there was no such pause.

    [bold]Examples[/bold]

      aiotask tasks resume shop.tasks:render
      aiotask tasks resume shop.tasks:render tenant == acme
    """
    _change("", task, " ".join(where or ()), False, "", name, url, as_json, resume=True)


def _change(
    queue: str,
    task: str,
    where: str,
    everything: bool,
    why: str,
    name: str | None,
    url: str | None,
    as_json: bool,
    *,
    resume: bool,
) -> None:
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator
    from aiotask.parts.pausing import pause_named

    if not queue and not task and not everything:
        raise ConfigError("Nothing was done: no queue was named. Name one, or give --all: every queue and every task.")
    pause = pause_named(queue=queue, task=task, where=where, everything=everything, why=why)
    actions = Actions(Place(name, url), operator())
    changed = asyncio.run(actions.resume(pause) if resume else actions.pause(pause))
    what = plain(pause.what, 500)
    if as_json:
        print_json(changed.described())
    elif not changed.done:
        print_error(f"Not paused: {what}. {changed.note}")
    elif resume:
        console().print(f"Resumed: {what}.", soft_wrap=True)
    else:
        console().print(f"Paused: {what}. Jobs that run end as usual.", soft_wrap=True)
        if changed.note:
            console().print(f"[yellow]{plain(changed.note, 1000)}[/yellow]", soft_wrap=True)
    if not changed.done:
        raise typer.Exit(1)


def list_tasks(name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """List the tasks of live workers, and their pauses.

    A task that no live worker has is listed only while it is paused.

    [bold]Examples[/bold]

      aiotask tasks
      aiotask tasks list --json | jq -r '.[] | select(.pauses != []).task'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.pauses import known_tasks

    known = asyncio.run(known_tasks(Place(name, url)))
    if as_json:
        return print_json([each.described() for each in known])
    terminal = console()
    if not known:
        terminal.print("No live worker has a task, and no task is paused. Start a worker: aiotask worker your.module")
        return
    rows = []
    for each in known:
        paused = ", ".join(pause.where or "all calls" for pause in each.pauses)
        shown = f"[yellow]{plain(paused, 300)}[/yellow]" if paused else ""
        rows.append([plain(each.app), plain(each.task, 300), shown, f"{each.workers:,}"])
    columns, shown_rows = informative(["app", "task", "paused", "workers"], rows)
    terminal.print(page_table(columns, shown_rows, terminal.width, right=("workers",)))
    show_pauses([pause for each in known for pause in each.pauses])


def show_pauses(pauses: list[Pause]) -> None:
    """What is paused, by whom, since when and why, a line each."""
    for pause in pauses:
        by = f" by {plain(pause.by)}" if pause.by else ""
        why = f": {plain(pause.why, 1000)}" if pause.why else "."
        console().print(f"[yellow]Paused: {plain(pause.what, 500)},[/yellow] {ago(pause.at)}{by}{why}", soft_wrap=True)


tasks_app = typer.Typer(cls=ByDefault, rich_markup_mode="rich", help="List the tasks of live workers, or pause a task.")
add(tasks_app, list_tasks, name="list")
add(tasks_app, pause_task, name="pause")
add(tasks_app, resume_task, name="resume")
