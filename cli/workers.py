"""``aiotask workers``: hosts, their worker processes, and what runs there."""

from __future__ import annotations

from typing import Annotated, Any

from .options import AppName, Json, Url, option
from .output import console, plain, print_json, table

__all__ = ["workers"]

Most = Annotated[int, option("--running", min=0, max=100, metavar="N", help="Show the N jobs that have run longest.")]


def workers(most: Most = 10, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show the hosts that run workers: their processes, how busy these are, and the jobs that have run longest.

    The keeper of each host reports every 5 seconds. A host that has not reported for 12 seconds is silent: it is
    about to be declared dead, or its keeper cannot reach the broker.

    [bold]Examples[/bold]

      aiotask workers
      aiotask workers --running 50 --name shop
      aiotask workers --json | jq '.[].processes[] | select(.lag > 0.1)'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.hosts import read_hosts, skews

    hosts = asyncio.run(read_hosts(Place(name, url)))
    if as_json:
        print_json(hosts)
        return
    terminal = console()
    if not hosts:
        terminal.print("No worker is live. Start one: aiotask worker your.module", soft_wrap=True)
        return
    _show_processes(hosts)
    _show_running(hosts, most)
    for sentence in [*_troubles(hosts), *skews(hosts)]:
        terminal.print(f"[yellow]{plain(sentence, 500)}[/yellow]", soft_wrap=True)


def _show_processes(hosts: list[dict[str, Any]]) -> None:
    from aiotask.log.events import in_words

    right = ("pid", "memory", "CPU", "lag", "running", "started")
    made = table("workers", "app", "worker", "pid", "memory", "CPU", "lag", "running", "started", "heard", right=right)
    for host in hosts:
        age = "never" if host["age"] is None else f"{in_words(host['age'])} ago"
        shown: set[str] = set()
        for each in host.get("processes", ()):
            names = [name for name in each["incarnations"] if name in host["live"]] or each["incarnations"][-1:]
            shown.update(names)
            late = in_words(max(each["lag"], each["still"] if each["still"] > 1 else 0.0))
            made.add_row(
                plain(host["app"]),
                plain(", ".join(names)),
                str(each["pid"]),
                f"{each['memory'] / 1e6:,.0f} MB",
                in_words(each["cpu"]),
                f"[yellow]{late}[/yellow]" if max(each["lag"], each["still"]) > 1 else late,
                f"{each['running']:,}",
                f"{each['started']:,}",
                age,
            )
        for name in host["live"]:
            if name not in shown:
                made.add_row(plain(host["app"]), plain(name), *([""] * 6), age)
    console().print(made)


def _show_running(hosts: list[dict[str, Any]], most: int) -> None:
    from aiotask.log.events import in_words

    running = [(host, job) for host in hosts for job in host.get("running", ())]
    running.sort(key=lambda each: -each[1]["seconds"])
    if not running or not most:
        return
    made = table("running longest", "app", "id", "task", "host", "pid", "for", "limit in", "", right=("pid", "for"))
    for host, job in running[:most]:
        left = job["left"]
        made.add_row(
            plain(host["app"]),
            plain(job["id"]),
            plain(job["task"]),
            plain(host["host"]),
            str(job["pid"]),
            in_words(job["seconds"]),
            "" if left is None else in_words(max(left, 0.0)),
            "[red]blocks its loop[/red]" if job["blocks"] else "waits for another job" if job["waits"] else "",
        )
    console().print(made)


def _troubles(hosts: list[dict[str, Any]]) -> list[str]:
    from aiotask.log.events import in_words
    from aiotask.ops.hosts import SILENT

    found = []
    for host in hosts:
        if host["age"] is None:
            found.append(f"Host {host['host']} has not reported yet, or its release of aiotask does not.")
            continue
        if host["age"] > SILENT:
            found.append(f"Host {host['host']} has not reported for {in_words(host['age'])}.")
        bad = {reason: number for reason, number in host["exits"].items() if reason != "done"}
        if bad:
            ended = ", ".join(f"{number:,} by {reason.replace('_', ' ')}" for reason, number in bad.items())
            found.append(f"Worker processes of host {host['host']} have ended: {ended}.")
    return found
