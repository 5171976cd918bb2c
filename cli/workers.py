"""``aiotask workers``: hosts, their worker processes, and what runs there; and what hosts are asked to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .asking import confirm
from .group import ByDefault, add
from .options import AppName, Json, Url, Yes, option
from .output import console, plain, print_json, table

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="Show hosts, their worker processes and what runs there; drain, resume or recycle hosts.",
    rich_markup_mode="rich",
)

Most = Annotated[int, option("--running", min=0, max=100, metavar="N", help="Show the N jobs that have run longest.")]


def list_(most: Most = 10, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
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
    from aiotask.ops.hosts import lost_words, read_hosts, read_lost, skews

    place = Place(name, url)
    hosts = asyncio.run(read_hosts(place))
    if as_json:
        print_json(hosts)
        return
    terminal = console()
    for each in asyncio.run(read_lost(place)):
        terminal.print(f"[yellow]{plain(' '.join(lost_words(each)), 500)}[/yellow]", soft_wrap=True)
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
    columns = ["app", "worker", "pid", "memory", "CPU", "lag", "running", "started", "heard"]
    differ = len({host["release"] for host in hosts if host["age"] is not None}) > 1
    made = table("workers", *columns, *(["release"] if differ else []), right=right)
    for host in hosts:
        age = "never" if host["age"] is None else f"{in_words(host['age'])} ago"
        release = [plain(host.get("release") or "(none)", 60)] if differ else []
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
                f"{100 * each['busy']:.0f} %, {in_words(each['cpu'])}",
                f"[yellow]{late}[/yellow]" if max(each["lag"], each["still"]) > 1 else late,
                f"{each['running']:,}",
                f"{each['started']:,}",
                age,
                *release,
            )
        for name in host["live"]:
            if name not in shown:
                made.add_row(plain(host["app"]), plain(name), *([""] * 6), age, *release)
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
    from aiotask.ops.hosts import SILENT, drained

    found = []
    for host in hosts:
        if since := drained(host):
            found.append(f"Host {host['host']} {since} To end that: aiotask workers resume {host['host']}")
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


# ---- verbs

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[HOST]...", help="Hosts as [bold]aiotask workers[/bold] names them; a beginning is enough."
    ),
]
Every = Annotated[bool, option("--all", help="Every live host, after a question.")]
Why = Annotated[str, option("--why", metavar="TEXT", help="The reason, for those who find it drained.")]


def drain(
    hosts: Names = None,
    everything: Every = False,
    why: Why = "",
    yes: Yes = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Have hosts take no new jobs until they are resumed.

    Running jobs end as usual, and jobs that wait in a process go back to their queues. The processes stay, and the
    host keeps its lease. A drain ends with [bold]resume[/bold] or with the supervisor of the host; it outlives the
    keeper and recycled processes. A host is one supervisor: the other apps that it serves are drained, too.

    [bold]Examples[/bold]

      aiotask workers drain web-1-4711-a1b2c3 --why "a new kernel"
      aiotask workers drain --all --name shop
    """
    _steer("drain", hosts, everything, yes, name, url, as_json, why)


def resume(
    hosts: Names = None,
    everything: Every = False,
    yes: Yes = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Have drained hosts take jobs again.

    The exit code is 1 if one of them was not drained.

    [bold]Examples[/bold]

      aiotask workers resume web-1-4711-a1b2c3
      aiotask workers resume --all --yes
    """
    _steer("resume", hosts, everything, yes, name, url, as_json)


def recycle(
    hosts: Names = None,
    everything: Every = False,
    yes: Yes = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Replace the worker processes of hosts one by one, as HUP to a supervisor does.

    Each new process loads the code that is there by now, and serves before an old one is asked to go; that one ends
    when its running jobs have ended. Nothing is lost, and nothing runs twice.

    [bold]Examples[/bold]

      aiotask workers recycle web-1-4711-a1b2c3
      aiotask workers recycle --all --yes
    """
    _steer("recycle", hosts, everything, yes, name, url, as_json)


def _steer(
    verb: str,
    hosts: list[str] | None,
    everything: bool,
    yes: bool,
    name: str | None,
    url: str | None,
    as_json: bool,
    why: str = "",
) -> None:
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.ops.connection import Place

    if bool(hosts) == everything:
        which = "--all cannot be combined with hosts" if everything else "no host was named"
        raise ConfigError(f"Nothing was done: {which}. Name hosts as aiotask workers shows them, or give --all.")
    done = asyncio.run(_steer_hosts(verb, hosts or [], Place(name, url), why, yes=yes))
    if not done and not as_json:
        console().print("No host is live, so nothing was done.")
        return
    if as_json:
        print_json(done)
    for each in () if as_json else done:
        mark = "[green]•[/green]" if each["did"] == "done" else "[red]![/red]"
        console().print(f"{mark} {plain(each['host'])}: {plain(each['said'], 500)}", soft_wrap=True)
    if any(each["did"] != "done" for each in done):
        raise typer.Exit(1)


async def _steer_hosts(verb: str, names: list[str], place: Any, why: str, *, yes: bool) -> list[dict[str, Any]]:
    from dataclasses import replace

    from aiotask.ops.actions import Actions
    from aiotask.ops.ask import live_hosts
    from aiotask.ops.connection import inspectors
    from aiotask.ops.visitors import Verb, operator

    async with inspectors(place) as opened:
        place = replace(place, opened=tuple(opened))
        if not names:
            names = [host.name for host in await live_hosts(place)] if opened else []
            if names and not yes:
                count = f"{len(names):,} host{'' if len(names) == 1 else 's'}"
                confirm(verb, count, "aiotask workers")
        if not names:
            return []
        return await Actions(place, operator()).steer_hosts(Verb(verb), list(dict.fromkeys(names)), why)


add(app, list_, name="list")
add(app, drain)
add(app, resume)
add(app, recycle)
