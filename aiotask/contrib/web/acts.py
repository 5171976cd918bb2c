"""``POST /do/VERB``: every form of the dashboard that changes something."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from ...errors import ConfigError
from ...inspector import JobFilter
from ...job import Status
from ...ops import letters
from ...ops.actions import LETTER_PERMISSIONS, PERMISSIONS
from ...ops.bulk import MOST_COUNTED, Done
from ...ops.limits import numbers_of
from ...ops.visitors import Verb
from ...parts.pausing import pause_named
from .bulk import Progress, Running, new_id
from .forms import Form, Said, safe_path, seal_said
from .pages.stacks import stacks_page
from .view import View

__all__ = ["TYPED", "act", "filter_in", "letter_filter_in"]

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


async def act(view: View, verb: Verb, form: Form) -> Response:
    """Do it, and lead back to the page from which it was asked."""
    root = view.request.scope.get("root_path", "")
    back = safe_path(form.get("back", 2000), root + "/")
    try:
        did = await _HANDLERS[verb](view, verb, form)
    finally:
        view.site.connections.forget(view.connection)
    if isinstance(did, Response):
        return did
    joint = "&" if "?" in back else "?"
    return RedirectResponse(f"{back}{joint}said={seal_said(did, view.connection.secrets)}", 303)


# ---- pauses


def _pause_in(form: Form) -> Any:
    on, name = form.get("on"), form.get("name")
    if on not in ("queue", "task", "all"):
        raise HTTPException(400, "A pause is of a queue, a task, or everything.")
    return pause_named(
        queue=name if on == "queue" else "",
        task=name if on == "task" else "",
        where=form.get("where") if on == "task" else "",
        everything=on == "all",
        why=form.get("why", 1000),
    )


async def _pause(view: View, verb: Verb, form: Form) -> Said:
    if form.get("on") == "schedule":
        name = form.get("name")
        if verb is Verb.PAUSE:
            await view.actions.pause_schedule(name, form.get("why", 1000))
        else:
            await view.actions.steer_schedule(verb, name)
        return Said(True, f'Schedule "{name}" {"is paused" if verb is Verb.PAUSE else "goes on"}.')
    if form.get("on") == "host" and verb is Verb.RESUME:
        return await _host(view, verb, form)
    pause = _pause_in(form)
    if verb is Verb.PAUSE:
        change = await view.actions.pause(pause)
        return Said(True, f"Paused: {pause.what}. Jobs that run end as usual. {change.note}".strip())
    change = await view.actions.resume(pause)
    return Said(change.done, f"Resumed: {pause.what}." if change.done else f"Not paused: {pause.what}. {change.note}")


# ---- jobs


async def _jobs(view: View, verb: Verb, form: Form) -> Said | Response:
    on, ids = form.get("on"), form.all("id")
    if on == "schedule" and verb is Verb.RUN_NOW:
        found = await view.actions.run_schedule(form.get("name"))
        return Said(True, f"Sent as job {found['id']}.")
    if on == "filter":
        return await _all_that_match(view, verb, form)
    if not ids:
        return Said(False, "Nothing was done: no job is selected.")
    done = await _by_id(view, verb, ids, form)
    good = [each for each in done if each.get("did") == "done" or each.get("status") in ("CANCELLED", "RUNNING")]
    if len(ids) == 1:
        return Said(bool(good), f"Job {ids[0]}: {done[0]['said']}.")
    return _counted(_DID[verb], len(good), "job", [each["said"] for each in done if each not in good])


async def _by_id(view: View, verb: Verb, ids: list[str], form: Form) -> list[dict[str, Any]]:
    if verb is Verb.CANCEL:
        return await view.actions.cancel(ids)
    if verb is Verb.RUN_NOW:
        return await view.actions.run_now(ids)
    if verb is Verb.MOVE:
        return await view.actions.move(ids, form.get("to"))
    return await view.actions.resend(ids, view.result_db)


def _counted(did: str, number: int, noun: str, skipped: list[str]) -> Said:
    said = f"{did.capitalize()}: {number:,} {noun}{'' if number == 1 else 's'}."
    if skipped:
        said += f" Skipped {len(skipped):,}; the first one: {skipped[0]}."
    return Said(not skipped, said)


async def _purge(view: View, verb: Verb, form: Form) -> Said | Response:
    queue = form.get("name")
    if not queue or form.get("typed") != queue:
        return Said(False, f'Nothing was purged: type the name of the queue, "{queue}", to confirm.')
    fields = [*((key, value) for key, value in form.fields if key in ("task", "back")), ("queue", queue)]
    return await _all_that_match(view, verb, Form(fields))


# ---- dead letters and graphs


async def _letters(view: View, verb: Verb, form: Form) -> Said | Response:
    on, ids = form.get("on"), form.all("id")
    if on == "graph" and verb is Verb.REPLAY:
        found = await view.actions.replay_graph(form.get("name"))
        said = f"{found['replayed']:,} jobs of graph {found['id']} run again."
        return Said(not found["refused"], found["refused"] or said)
    if verb is Verb.DISCARD and form.get("typed") != TYPED:
        return Said(False, f'Nothing was deleted: type "{TYPED}" to confirm.')
    if on == "filter":
        return await _all_letters(view, verb, form)
    if not ids:
        return Said(False, "Nothing was done: no dead letter is selected.")
    done = await view.actions.move_letters(_OF_LETTERS[verb], ids)
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
    """The filter that the fields of a form or an address say.

    Raises:
        ConfigError: there is no such status.
    """
    status = get("status").upper()
    if status and status not in Status.__members__:
        raise ConfigError(f'There is no status "{status}". Statuses: {", ".join(Status).lower()}.')
    queue, task = get("queue") or None, get("task") or None
    return JobFilter(Status(status) if status else None, queue, task, get("prefix"), get("q"))


def letter_filter_in(get: Callable[[str], str]) -> letters.Filter:
    return letters.Filter(get("task") or None, get("queue") or None, get("error") or None)


async def _all_that_match(view: View, verb: Verb, form: Form) -> Response:
    wanted = filter_in(form.get)
    # Of an id, a prefix is no filter of a bulk action that people mean; and what has ended cannot be acted on.
    if wanted == JobFilter() and form.get("typed") != "all":
        raise ConfigError('Nothing was done: without a filter this is about every job. Type "all" to confirm.')
    _refuse_more(view)
    to = form.get("to") if verb is Verb.MOVE else ""
    async with view.actions.matching(_BULK[verb], wanted, to) as found:
        number, subject = await found.count(), found.subject

    async def work(progress: Progress) -> None:
        done = Done()

        def seen(_: int) -> None:
            progress.seen, progress.done, progress.asked = done.seen, done.done, done.asked
            progress.skipped = dict(done.skipped)

        try:
            async with view.actions.matching(_BULK[verb], wanted, to) as found:
                await found.run(done, seen)
        finally:
            seen(0)

    return _begin(view, verb, subject, number, form, work)


async def _all_letters(view: View, verb: Verb, form: Form) -> Response:
    wanted = letter_filter_in(form.get)
    _refuse_more(view)
    async with view.actions.letters(_OF_LETTERS[verb], wanted) as found:
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
            async with view.actions.letters(_OF_LETTERS[verb], wanted) as found:
                await found.run(done, seen)
        finally:
            seen(0)

    return _begin(view, verb, subject, number, form, work)


def _refuse_more(view: View) -> None:
    if view.site.runs.is_full:
        raise ConfigError("Nothing was done: several bulk actions run already. Wait until one has ended, or stop it.")


def _begin(
    view: View, verb: Verb, subject: str, number: int, form: Form, work: Callable[[Progress], Awaitable[None]]
) -> Response:
    back = safe_path(form.get("back", 2000), view.request.scope.get("root_path", "") + "/")
    label, who = view.connection.label, view.visitor.name
    run = Running(new_id(), verb, subject, number, number >= MOST_COUNTED, label, who, back)
    view.site.runs.begin(run, work)
    return RedirectResponse(view.url("/bulk", run.id), 303)


async def stop_bulk(view: View, form: Form) -> Response:
    """Stop a bulk action; a visitor needs the permission of its verb for that."""
    run = view.site.runs.get(form.get("id"))
    if run is None:
        raise HTTPException(404, "This bulk action is not known here (any more).")
    if not view.actions.may(run.verb):
        raise await view.actions.refuse(run.verb, f"stop: {run.subject}")
    await view.site.runs.stop(run)
    return RedirectResponse(view.url("/bulk", run.id), 303)


# ---- schedules, limits, hosts


async def _remove(view: View, verb: Verb, form: Form) -> Said:
    name = form.get("name")
    if form.get("typed") != name:
        return Said(False, f'Nothing was removed: type the name of the schedule, "{name}", to confirm.')
    await view.actions.steer_schedule(verb, name)
    return Said(True, f'Schedule "{name}" is removed. One that the code of a running worker declares comes back.')


async def _set_limit(view: View, verb: Verb, form: Form) -> Said:
    found = await view.actions.set_limit(form.get("name"), numbers_of(shlex.split(form.get("numbers"))))
    return Said(True, f"{found['task'] or found['name']} allows from now on: {found['allows']}.")


async def _reset_limit(view: View, verb: Verb, form: Form) -> Said:
    found = await view.actions.reset_limit(form.get("name"))
    return Said(True, f"{found['task'] or found['name']} allows from now on: {found['allows']}.")


#: Words for what a host did.
_STEERED = {Verb.DRAIN: "Drained", Verb.RESUME: "Resumed", Verb.RECYCLE: "Recycled"}


async def _host(view: View, verb: Verb, form: Form) -> Said:
    done = await view.actions.steer_hosts(verb, [form.get("name")])
    (only,) = done
    ok = only["did"] == "done"
    return Said(ok, f"{_STEERED[verb] if ok else 'Not done'}: host {only['host']}. {only['said']}")


async def _stacks(view: View, verb: Verb, form: Form) -> Response:
    return await stacks_page(view, form.get("id"))


_HANDLERS: dict[Verb, Callable[[View, Verb, Form], Awaitable[Said | Response]]] = {
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
