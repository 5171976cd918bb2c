"""``aiotask stack``: where every process stands now, on every host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AppName, Database, Json, Url
from .output import console, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["stack"]

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="WORKER|JOB",
        help="Show only the process of this name (worker-3, keeper, supervisor, or as in [bold]aiotask jobs[/bold]), "
        "or the one that runs this job.",
    ),
]


def stack(
    target: Target = None, name: AppName = None, url: Url = None, database: Database = None, as_json: Json = False
) -> None:
    """Show the current stack of the supervisor, the keeper and every worker process, and what each job waits for.

    The hosts are asked through the broker; no job is interrupted. A process that does not react or whose event loop is
    blocked is shown, too. The exit code is 1 if a host does not answer. Workers that run rows alone have no broker:
    send their supervisor USR1 instead, and the stacks are in its log.

    [bold]Examples[/bold]

      aiotask stack
      aiotask stack worker-3
      aiotask stack 00a1b2c3d4e5f6a7b-2a
      aiotask stack --json --url redis://queue.internal
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.ask import choose_processes
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    hosts = asyncio.run(Actions(Place(name, url, database), operator()).stacks())
    silent = sorted(host for host, answer in hosts.items() if answer is None)
    shown = {host: choose_processes(answer, target) for host, answer in sorted(hosts.items()) if answer is not None}
    if as_json:
        print_json({"hosts": shown, "silent": silent})
    else:
        _show(shown, silent, target)
    if silent or (target and not any(answer["processes"] for answer in shown.values())):
        raise typer.Exit(1)


# ---- for people


def _show(hosts: dict[str, dict[str, Any]], silent: list[str], target: str | None) -> None:
    from aiotask.ops.ask import ANSWER_TIMEOUT

    terminal = console()
    if not hosts and not silent:
        terminal.print("No worker is running.")
    for host, answer in hosts.items():
        if answer["processes"] or answer["note"]:
            note = f"  [yellow]{plain(answer['note'])}[/yellow]" if answer["note"] else ""
            terminal.print(f"[bold]{plain(host)}[/bold]{note}", soft_wrap=True)
        for process in answer["processes"]:
            _show_process(terminal, process)
    if target and hosts and not any(answer["processes"] for answer in hosts.values()):
        terminal.print(
            f'No process that answered is called "{plain(target)}" or runs a job with this ID.', soft_wrap=True
        )
    for host in silent:
        terminal.print(f"[red]{plain(host)} did not answer within {ANSWER_TIMEOUT:g} s.[/red]", soft_wrap=True)


def _show_process(terminal: Console, process: dict[str, Any]) -> None:
    from aiotask.log.events import in_words

    still = process.get("still", 0.0)
    late = f", [red]its event loop has not run for {in_words(still)}[/red]" if still else ""
    count = len(process["jobs"])
    running = f", {count} job{'s' if count != 1 else ''}" if process["name"] not in ("supervisor", "keeper") else ""
    terminal.print(f"  [bold]{plain(process['name'])}[/bold] (pid {process['pid']}){running}{late}", soft_wrap=True)
    for job in process["jobs"]:
        blocks = ", [red]blocks the event loop[/red]" if job["blocks"] else ""
        what = f"    [cyan]{plain(job['task'])} {plain(job['id'])}[/cyan] for {in_words(job['seconds'])}{blocks}"
        terminal.print(what + (", waits" if job["awaits"] else ""), soft_wrap=True)
        _show_frames(terminal, job["awaits"])
    for thread in process["threads"]:
        terminal.print(f"    [dim]{_KINDS.get(thread['kind'], 'thread')}[/dim]")
        _show_frames(terminal, thread["frames"])
    if not process["threads"]:
        silence = process.get("silence")
        why = f": {plain(silence)}" if silence else ""
        terminal.print(f"    (the process did not show its stacks{why})", soft_wrap=True)


_KINDS = {"loop": "event loop", "sync": "thread of sync jobs"}


def _show_frames(terminal: Console, frames: list[tuple[str, int, str]]) -> None:
    from aiotask.worker.stacks import is_executor

    for file, line, function in frames:
        if is_executor(file):
            # The frames below the call of the job are the same for all jobs.
            return
        terminal.print(f"      {plain(file, 300)}:{line} in {plain(function)}", soft_wrap=True)
