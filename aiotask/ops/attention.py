"""What an operator should see to, in sentences that end with what to do."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ..brokers.pauses import Pause
from ..brokers.schedules import ScheduleState
from ..inspector import QueueInfo, ServerFacts, Stats, WorkerInfo
from ..log.events import in_words
from ..values.report import LostHost
from .hosts import SILENT, drained, lost_words, skews
from .pauses import resume_command

__all__ = ["Attention", "attention_of"]

#: Share of the server's memory from which on it is nearly full.
_FULL = 0.9
#: Seconds for which an event loop stands still before people are told.
_STILL = 1.0
#: Seconds by which the clock of a host is off before people are told.
_SKEWED = 2.0
#: What to do where not everything runs the same.
_BEHIND_FIX = "Finish the deploy, or stop what was left behind: aiotask workers shows the releases."
#: Finished jobs that wait for a recorder, above which the history is behind.
_BEHIND = 10_000


class Attention(NamedTuple):
    """One thing to see to."""

    #: Whether something is wrong, rather than unusual.
    is_bad: bool
    #: The beginning of the sentence, which names what it is about; and the rest of it.
    what: str
    rest: str
    #: What to do about it; empty: the pages say it.
    fix: str = ""
    #: What it is about: ``queue``, ``task``, ``all``, ``schedule``, ``job``, ``parked``, ``workers``, ``server``,
    #: ``dead``, ``aside``, ``limits`` or ``history``; its name.
    kind: str = ""
    name: str = ""
    #: The verb that ends it, for faces that can do it: ``resume``, or none.
    verb: str = ""


def attention_of(
    stats: Stats,
    workers: Sequence[WorkerInfo],
    pauses: Sequence[Pause],
    facts: ServerFacts,
    unrecorded: int,
    aside: int,
    hosts: Sequence[dict[str, Any]] = (),
    errors: Sequence[dict[str, Any]] = (),
    schedules: Sequence[ScheduleState] = (),
    lost: Sequence[LostHost] = (),
    by_hand: Mapping[str, str] = MappingProxyType({}),
) -> list[Attention]:
    """What is wrong comes first.

    Args:
        unrecorded: finished jobs that wait for a recorder.
        aside: messages that were set aside, since they were no jobs of this app.
        hosts: as ``hosts.read_hosts`` describes them.
        errors: the newest dead letters, as ``letters.by_error`` groups them.
        schedules: those that are paused.
        lost: hosts that were lost lately.
        by_hand: what each limit allows whose numbers were set by hand.
    """
    found = [
        *_about_workers(stats, workers, hosts),
        *_about_queues(stats, workers),
        *_about_hosts(hosts),
        *(_about_lost(each) for each in lost),
        *(_about_pause(pause, stats) for pause in pauses),
        *map(_about_schedule, schedules),
        *(_about_limit(name, allows, stats) for name, allows in by_hand.items()),
        *_about_server(facts),
        *_about_letters(stats, errors),
        *_about_backlogs(stats, unrecorded, aside),
    ]
    return sorted(found, key=lambda each: not each.is_bad)


def _jobs(number: int) -> str:
    return f"{number:,} job{'' if number == 1 else 's'}"


def _oldest(queue: QueueInfo) -> str:
    return f"; the oldest for {in_words(queue.oldest)}" if queue.oldest is not None else ""


def _about_workers(stats: Stats, workers: Sequence[WorkerInfo], hosts: Sequence[dict[str, Any]]) -> list[Attention]:
    unfinished = stats.pending + stats.scheduled + stats.running
    if not workers and unfinished:
        rest = f"and {_jobs(unfinished)} {'is' if unfinished == 1 else 'are'} not finished."
        return [Attention(True, "No worker is live", rest, "Start one: aiotask worker your.module", "workers")]
    if any(host["age"] is not None for host in hosts):
        # Hosts that report say so themselves.
        return []
    releases = sorted({str(each.facts.get("release", "?")) for each in workers})
    pythons = sorted({str(each.facts.get("python", "?")) for each in workers} - {"?"})
    minor = sorted({".".join(python.split(".")[:2]) for python in pythons})
    found = []
    if len(releases) > 1:
        rest = f"({', '.join(releases)}): a deploy is on its way, or a host was left behind."
        found.append(Attention(False, "Workers of different releases are live", rest, _BEHIND_FIX, "workers"))
    if len(minor) > 1:
        rest = f"({', '.join(minor)}): what was pickled by value runs only where the versions agree."
        what = "Workers of different versions of Python are live"
        found.append(Attention(False, what, rest, _BEHIND_FIX, "workers"))
    return found


def _about_hosts(hosts: Sequence[dict[str, Any]]) -> list[Attention]:
    found = []
    for host in hosts:
        if host["age"] is None:
            continue
        name = _name(host, hosts)
        if host["age"] > SILENT:
            rest = f"has not been heard of for {in_words(host['age'])}: it is gone, or cannot reach the server."
            fix = "Look at that machine; its jobs run elsewhere once its lease is over."
            found.append(Attention(True, f"Host {name}", rest, fix, "workers"))
            continue
        if abs(ahead := host["ahead"]) >= _SKEWED:
            way = "ahead of" if ahead > 0 else "behind"
            rest = f"is {in_words(abs(ahead))} {way} that of the server."
            fix = "Set it right: delays, eta and expiry of what it sends, and the times of its runs, are off by that."
            found.append(Attention(True, f"The clock of host {name}", rest, fix, "workers"))
        if rest := drained(host):
            fix = f"To end that: aiotask workers resume {host['host']}"
            found.append(Attention(False, f"Host {name}", rest, fix, "workers"))
        found += [_about_still(name, host, each) for each in host["processes"] if each["still"] >= _STILL]
        # Processes that have just begun do not serve yet.
        if host["wanted"] > host["serving"] and host["exits"] and not host["stopping"]:
            rest = f"serve on {name}; the others start again or keep dying."
            fix = "The log of that worker says why its processes ended; aiotask workers counts them."
            found.append(Attention(True, f"{host['serving']} of {host['wanted']} workers", rest, fix, "workers"))
    return [*found, *(Attention(False, sentence, "", _BEHIND_FIX, "workers") for sentence in skews(hosts))]


def _name(host: dict[str, Any], hosts: Sequence[dict[str, Any]]) -> str:
    """The machine of a host; its own name where several hosts are on that machine."""
    on_it = sum(each.get("machine") == host["machine"] for each in hosts)
    return str(host["machine"]) if host["machine"] and on_it == 1 else str(host["host"])


def _about_lost(host: LostHost) -> Attention:
    what, rest, fix = lost_words(host)
    return Attention(True, what, rest, fix, "workers")


def _about_still(name: str, host: dict[str, Any], process: dict[str, Any]) -> Attention:
    """That an event loop does not turn, and because of which job."""
    what = f"Worker {process['pid']} on {name} has stood still for {in_words(process['still'])}"
    own = next((job for job in host["running"] if job["pid"] == process["pid"] and job["blocks"]), None)
    if own is None:
        rest = "and no async task is known to block it."
        return Attention(True, what, rest, "See where it stands: aiotask stack", "workers")
    rest = f"in {own['task']}: an async task blocks its event loop."
    return Attention(True, what, rest, f"See where it stands: aiotask stack {own['id']}", "job", own["id"])


def _about_queues(stats: Stats, workers: Sequence[WorkerInfo]) -> list[Attention]:
    return [
        Attention(
            True,
            f"No live worker consumes queue {each.name}",
            f"and {_jobs(each.pending)} wait{'s' if each.pending == 1 else ''} in it{_oldest(each)}.",
            f"Start one: aiotask worker your.module --queues {each.name}",
            "queue",
            each.name,
        )
        for each in stats.queues
        if workers and each.pending and not each.consumers and not each.paused
    ]


def _about_pause(pause: Pause, stats: Stats) -> Attention:
    since = f"for {in_words(max(0.0, time.time() - pause.at))}" if pause.at else ""
    by = f" by {pause.by}" if pause.by else ""
    why = f" ({pause.why})" if pause.why else ""
    fix = f"If it is no longer needed: {resume_command(pause)}"
    if pause.queue:
        queue = next((each for each in stats.queues if each.name == pause.queue), QueueInfo(pause.queue))
        rest = f"{since}{by}{why}, and {_jobs(queue.pending)} wait{'s' if queue.pending == 1 else ''}{_oldest(queue)}."
        what = f"Queue {pause.queue} has been paused"
        return Attention(False, what, rest.lstrip(), fix, "queue", pause.queue, "resume")
    if not pause.task:
        rest = f"{since}{by}{why}; {_jobs(stats.pending)} wait{'s' if stats.pending == 1 else ''}."
        return Attention(False, "Everything has been paused", rest.lstrip(), fix, "all", verb="resume")
    where = f" where {pause.where}" if pause.where else ""
    rest = f"{since}{where}{by}{why}; its jobs are parked.".lstrip()
    return Attention(False, f"Task {pause.task} has been paused", rest, fix, "task", pause.task, "resume")


def _about_schedule(state: ScheduleState) -> Attention:
    since = f"for {in_words(max(0.0, time.time() - state.paused))}"
    by = f" by {state.paused_by}" if state.paused_by else ""
    why = f" ({state.paused_why})" if state.paused_why else ""
    fix = f"If it is no longer needed: aiotask schedules resume {shlex.quote(state.name)}"
    what = f"Schedule {state.name} has been paused"
    return Attention(False, what, f"{since}{by}{why}.", fix, "schedule", state.name, "resume")


def _about_limit(name: str, allows: str, stats: Stats) -> Attention:
    held = sum(queue.held for queue in stats.queues)
    waits = f"; {_jobs(held)} wait{'s' if held == 1 else ''} for places in limits" if held else ""
    rest = f"has numbers that were set by hand: {allows}{waits}."
    fix = f"To restore what its tasks declare: aiotask limits reset {name}"
    return Attention(False, f"Limit {name}", rest, fix, "limits")


def _about_server(facts: ServerFacts) -> list[Attention]:
    found = [Attention(True, "The server", f"{facts.unfit}.", facts.remedy, "server")] if facts.unfit else []
    if facts.memory_limit and facts.memory_used > _FULL * facts.memory_limit:
        share = round(100 * facts.memory_used / facts.memory_limit)
        is_full = facts.memory_used >= facts.memory_limit
        does = f"drops jobs ({facts.evicts})" if facts.evicts else "refuses new jobs"
        when = f"it is full, and {does}" if is_full else f"when it is full, the server {does}"
        rest = f"of the server's memory is used; {when}."
        fix = "Raise maxmemory, keep results for a shorter time (result_ttl), or use ignore_result."
        found.append(Attention(True, f"{share} %", rest, fix, "server"))
    found += [Attention(False, warning, "", kind="server") for warning in facts.warnings]
    return found


def _about_letters(stats: Stats, errors: Sequence[dict[str, Any]]) -> list[Attention]:
    """The jobs that were given up lately: those of long ago are counted elsewhere."""
    number = sum(each["lately"] for each in errors)
    if not number:
        return []
    most = max(errors, key=lambda each: int(each["lately"]))
    of = "" if most["lately"] == number else f"{most['lately']:,} of them "
    rest = (
        f"{'was' if number == 1 else 'were'} given up in the last hour, {of}by {most['error']} in {most['task']}; "
        f"there {'is' if stats.dead == 1 else 'are'} {stats.dead:,} dead letter{'' if stats.dead == 1 else 's'} in all."
    )
    fix = "See why: aiotask dead list. Then run them again: aiotask dead replay, or remove them: aiotask dead delete."
    return [Attention(False, _jobs(number), rest, fix, "dead")]


def _about_backlogs(stats: Stats, unrecorded: int, aside: int) -> list[Attention]:
    found = []
    if unable := stats.parked - stats.paused:
        one = unable == 1
        rest = (
            f"wait{'s' if one else ''} for a worker that can run {'it' if one else 'them'}: none that is live knows "
            f"{'its' if one else 'their'} task, or has {'its' if one else 'their'} Python."
        )
        found.append(
            Attention(
                True,
                _jobs(unable),
                rest,
                "Start a worker with this code; what each needs: aiotask jobs --status parked",
                "parked",
            )
        )
    if unrecorded > _BEHIND:
        rest = "wait to be recorded: the history is behind, or no worker with --result-db is live."
        fix = "Run a worker with --result-db; if one runs, its log says why it does not record."
        found.append(Attention(False, f"{unrecorded:,} finished jobs", rest, fix, "history"))
    if aside:
        one = aside == 1
        seal, they = ("its seal", "it was") if one else ("their seals", "they were")
        verb = "is" if one else "are"
        rest = f"set aside: {seal} {verb} missing or wrong, so {they} not run."
        what = "1 message was" if one else f"{aside:,} messages were"
        found.append(Attention(True, what, rest, "Give every sender and worker the same AIOTASK_SECRET.", "aside"))
    return found
