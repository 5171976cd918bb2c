"""Every action of the views: what was asked for becomes a verb, and its outcome a sentence."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from typing import Any

from ...brokers.pauses import Pause
from ...errors import ConfigError
from ...inspector import JobFilter
from ...parts.pausing import pause_named
from .. import letters
from ..actions import LETTER_PERMISSIONS, PERMISSIONS
from ..ask import Answers
from ..bulk import MOST_COUNTED, Done
from ..ended import OfHistory
from ..limits import numbers_of
from ..visitors import Verb
from .fields import Fields, Said
from .finished import FINISHED, moment_in
from .look import Look, NotFound, status_named
from .runs import Progress, Running, Runs, new_id

__all__ = ["TYPED", "act", "of_history_in", "stop"]

#: What an action gives: a sentence, a bulk action that has begun, or the stacks of hosts.
Outcome = Said | Running | Answers

_BULK = {verb: action for action, verb in PERMISSIONS.items()}
_OF_LETTERS = {verb: name for name, verb in LETTER_PERMISSIONS.items()}
#: Words for what was done.
_DID = {
    Verb.CANCEL: "cancelled",
    Verb.RUN_NOW: "made due",
    Verb.RESEND: "sent again",
    Verb.MOVE: "moved",
    Verb.REPLAY: "replayed",
    Verb.DISCARD: "deleted",
}
#: What has to be typed where it is not a name.
TYPED = "delete"


async def act(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Outcome:
    """Do it.

    Args:
        runs: where a bulk action begins.

    Raises:
        NotAllowed: the visitor may not do it.
        ConfigError: something that was filled in is wrong.
        AiotaskError: what the verb raises.
    """
    try:
        return await _HANDLERS[verb](look, runs, verb, fields)
    finally:
        look.connections.forget(look.connection)


# ---- pauses


def _pause_in(fields: Fields) -> Pause:
    on, name = fields.get("on"), fields.get("name")
    if on not in ("queue", "task", "all"):
        raise ConfigError("A pause is of a queue, a task, or everything.")
    return pause_named(
        queue=name if on == "queue" else "",
        task=name if on == "task" else "",
        where=fields.get("where") if on == "task" else "",
        everything=on == "all",
        why=fields.get("why", 1000),
    )


async def _pause(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Said:
    if fields.get("on") == "schedule":
        name = fields.get("name")
        if verb is Verb.PAUSE:
            await look.actions.pause_schedule(name, fields.get("why", 1000))
        else:
            await look.actions.steer_schedule(verb, name)
        return Said(True, f'Schedule "{name}" {"is paused" if verb is Verb.PAUSE else "goes on"}.')
    if fields.get("on") == "host" and verb is Verb.RESUME:
        return await _host(look, runs, verb, fields)
    pause = _pause_in(fields)
    if verb is Verb.PAUSE:
        change = await look.actions.pause(pause)
        return Said(True, f"Paused: {pause.what}. Jobs that run end as usual. {change.note}".strip())
    change = await look.actions.resume(pause)
    return Said(change.done, f"Resumed: {pause.what}." if change.done else f"Not paused: {pause.what}. {change.note}")


# ---- jobs


async def _jobs(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Outcome:
    on, ids = fields.get("on"), fields.all("id")
    if on == "schedule" and verb is Verb.RUN_NOW:
        found = await look.actions.run_schedule(fields.get("name"))
        return Said(True, f"Sent as job {found['id']}.")
    if on == "filter":
        return await _all_that_match(look, runs, verb, fields)
    if not ids:
        return Said(False, "Nothing was done: no job is selected.")
    done = await _by_id(look, verb, ids, fields)
    good = [each for each in done if each.get("did") == "done" or each.get("status") in ("CANCELLED", "RUNNING")]
    if len(ids) == 1:
        return Said(bool(good), f"Job {ids[0]}: {done[0]['said']}.")
    return _counted(_DID[verb], len(good), "job", [each["said"] for each in done if each not in good])


async def _by_id(look: Look, verb: Verb, ids: list[str], fields: Fields) -> list[dict[str, Any]]:
    if verb is Verb.CANCEL:
        return await look.actions.cancel(ids)
    if verb is Verb.RUN_NOW:
        return await look.actions.run_now(ids)
    if verb is Verb.MOVE:
        return await look.actions.move(ids, fields.get("to"))
    return await look.actions.resend(ids, look.result_db)


def _counted(did: str, number: int, noun: str, skipped: list[str]) -> Said:
    said = f"{did.capitalize()}: {number:,} {noun}{'' if number == 1 else 's'}."
    if skipped:
        said += f" Skipped {len(skipped):,}; the first one: {skipped[0]}."
    return Said(not skipped, said)


async def _purge(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Outcome:
    queue = fields.get("name")
    if not queue or fields.get("typed") != queue:
        return Said(False, f'Nothing was purged: type the name of the queue, "{queue}", to confirm.')
    kept = [each for each in fields.fields if each[0] in ("status", "task", "prefix", "q", "back")]
    return await _all_that_match(look, runs, verb, Fields([*kept, ("queue", queue)]))


# ---- dead letters and graphs


async def _letters(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Outcome:
    on, ids = fields.get("on"), fields.all("id")
    if on == "graph" and verb is Verb.REPLAY:
        found = await look.actions.replay_graph(fields.get("name"))
        said = f"{found['replayed']:,} jobs of graph {found['id']} run again."
        return Said(not found["refused"], found["refused"] or said)
    if verb is Verb.DISCARD and fields.get("typed") != TYPED:
        return Said(False, f'Nothing was deleted: type "{TYPED}" to confirm.')
    if on == "filter":
        return await _all_letters(look, runs, verb, fields)
    if not ids:
        return Said(False, "Nothing was done: no dead letter is selected.")
    done = await look.actions.move_letters(_OF_LETTERS[verb], ids)
    return _counted(_DID[verb], len(done.moved), "dead letter", _why_not(done))


def _why_not(done: letters.Done) -> list[str]:
    graphs = [
        f"job {id} belongs to graph {graph}, which is replayed as a whole" for id, graph in done.of_graphs.items()
    ]
    return [
        *graphs,
        *(f"a newer job with the id {id} is there" for id in done.outdated),
        *(f"{id} is no dead letter any more" for id in done.missing),
    ]


# ---- what a filter finds


def filter_in(get: Callable[[str], str]) -> JobFilter:
    """The filter that fields say.

    Raises:
        ConfigError: there is no such status.
    """
    queue, task = get("queue") or None, get("task") or None
    return JobFilter(status_named(get("status")), queue, task, get("prefix"), get("q"))


def of_history_in(get: Callable[[str], str], db: str | None) -> OfHistory | None:
    """The jobs of the history that are sent again, as fields say: by when they ended, a status of finished jobs, or the
    field ``of``; None: dead letters are.

    Args:
        db: the history file.

    Raises:
        ConfigError: there is no such status or moment.
    """
    found = OfHistory(db, moment_in(get("since")), moment_in(get("until")))
    is_meant = get("of") == "history" or status_named(get("status")) in FINISHED or not found.is_open
    return found if is_meant else None


async def _all_that_match(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Running:
    wanted = filter_in(fields.get)
    error = fields.get("error") if verb is Verb.RESEND else ""
    of_history = of_history_in(fields.get, look.result_db) if verb is Verb.RESEND else None
    is_open = wanted == JobFilter() and not error and (of_history is None or of_history.is_open)
    if is_open and fields.get("typed") != "all":
        raise ConfigError('Nothing was done: without a filter this is about every job. Type "all" to confirm.')
    _refuse_more(runs)
    chosen = _BULK[verb], wanted, fields.get("to") if verb is Verb.MOVE else "", error, of_history
    async with look.actions.matching(*chosen) as found:
        number, subject = await found.count(), found.subject

    async def work(progress: Progress) -> None:
        done = Done()

        def seen(_: int) -> None:
            progress.seen, progress.done, progress.asked = done.seen, done.done, done.asked
            progress.skipped = dict(done.skipped)

        try:
            async with look.actions.matching(*chosen) as found:
                await found.run(done, seen)
        finally:
            seen(0)

    return _begin(look, runs, verb, subject, number, fields, work)


async def _all_letters(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Running:
    wanted = letters.Filter(fields.get("task") or None, fields.get("queue") or None, fields.get("error") or None)
    _refuse_more(runs)
    async with look.actions.letters(_OF_LETTERS[verb], wanted) as found:
        number, subject = found.count(), found.subject

    async def work(progress: Progress) -> None:
        done = letters.Done()

        def seen(moved: int) -> None:
            progress.seen, progress.done = max(moved, progress.seen), len(done.moved)
            reasons = {
                "newer job is there": len(done.outdated),
                "no dead letter any more": len(done.missing),
                "belongs to a graph, which is replayed as a whole": len(done.of_graphs),
            }
            progress.skipped = {why: count for why, count in reasons.items() if count}

        try:
            async with look.actions.letters(_OF_LETTERS[verb], wanted) as found:
                await found.run(done, seen)
        finally:
            seen(0)

    return _begin(look, runs, verb, subject, number, fields, work)


def _refuse_more(runs: Runs) -> None:
    if runs.is_full:
        raise ConfigError("Nothing was done: several bulk actions run already. Wait until one has ended, or stop it.")


def _begin(
    look: Look,
    runs: Runs,
    verb: Verb,
    subject: str,
    number: int,
    fields: Fields,
    work: Callable[[Progress], Awaitable[None]],
) -> Running:
    label, who = look.connection.label, look.visitor.name
    run = Running(new_id(), verb, subject, number, number >= MOST_COUNTED, label, who, fields.back)
    return runs.begin(run, work)


async def stop(look: Look, runs: Runs, id: str) -> Running:
    """Stop a bulk action; a visitor needs the permission of its verb for that.

    Raises:
        NotFound: it is not known here.
        NotAllowed: the visitor may not do what it does.
    """
    run = runs.get(id)
    if run is None:
        raise NotFound("This bulk action is not known here (any more).")
    if not look.actions.may(run.verb):
        raise await look.actions.refuse(run.verb, f"stop: {run.subject}")
    await runs.stop(run)
    return run


# ---- schedules, limits, hosts


async def _remove(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Said:
    name = fields.get("name")
    if fields.get("typed") != name:
        return Said(False, f'Nothing was removed: type the name of the schedule, "{name}", to confirm.')
    await look.actions.steer_schedule(verb, name)
    return Said(True, f'Schedule "{name}" is removed. One that the code of a running worker declares comes back.')


async def _set_limit(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Said:
    found = await look.actions.set_limit(fields.get("name"), numbers_of(shlex.split(fields.get("numbers"))))
    return Said(True, f"{found['task'] or found['name']} allows from now on: {found['allows']}.")


async def _reset_limit(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Said:
    found = await look.actions.reset_limit(fields.get("name"))
    return Said(True, f"{found['task'] or found['name']} allows from now on: {found['allows']}.")


#: Words for what a host did.
_STEERED = {Verb.DRAIN: "Drained", Verb.RESUME: "Resumed", Verb.RECYCLE: "Recycled"}


async def _host(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Said:
    (only,) = await look.actions.steer_hosts(verb, [fields.get("name")], fields.get("why", 1000))
    ok = only["did"] == "done"
    return Said(ok, f"{_STEERED[verb] if ok else 'Not done'}: host {only['host']}. {only['said']}")


async def _stacks(look: Look, runs: Runs, verb: Verb, fields: Fields) -> Answers:
    return await look.actions.stacks()


_HANDLERS: dict[Verb, Callable[[Look, Runs, Verb, Fields], Awaitable[Outcome]]] = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _pause,
    Verb.PURGE: _purge,
    Verb.CANCEL: _jobs,
    Verb.RUN_NOW: _jobs,
    Verb.RESEND: _jobs,
    Verb.MOVE: _jobs,
    Verb.REPLAY: _letters,
    Verb.DISCARD: _letters,
    Verb.REMOVE: _remove,
    Verb.SET_LIMIT: _set_limit,
    Verb.RESET_LIMIT: _reset_limit,
    Verb.STACKS: _stacks,
    Verb.DRAIN: _host,
    Verb.RECYCLE: _host,
}
