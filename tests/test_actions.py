"""Actions: every verb does its work for who may, nothing for who may not, and writes one line either way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from aiotask import Limit
from aiotask.errors import AiotaskError, ConfigError
from aiotask.inspector import JobFilter
from aiotask.job import Status
from aiotask.ops import letters
from aiotask.ops.actions import Actions
from aiotask.ops.bulk import Action, Done
from aiotask.ops.connection import Place, inspectors
from aiotask.ops.visitors import ACTS, NotAllowed, Verb, Visitor, operator, verbs_named
from aiotask.parts.pausing import pause_named

from .acted import World, a_drained_host, a_host, render_tile, steer


@dataclass
class Trial:
    """One verb on one kind of thing: how it is prepared and done, whether it was done, and how its line names it."""

    verb: Verb
    subject: str
    prepare: Callable[[World], Awaitable[Any]]
    act: Callable[[Actions, Any], Awaitable[Any]]
    is_done: Callable[[World, Any], Awaitable[bool]]


async def nothing(world: World) -> None: ...


def tiles() -> Any:
    return pause_named(queue="tiles")


async def is_paused(world: World, _: Any) -> bool:
    return any(each.paused for each in await world.inspector.queues(max_age=0.0) if each.name == "tiles")


async def a_pending_tile(world: World) -> None:
    await world.send()


async def a_paused_queue(world: World) -> None:
    await world.send()
    await world.app.pause(queue="tiles")


async def a_job(world: World) -> str:
    return await world.send()


async def a_scheduled_job(world: World) -> str:
    return await world.send(delay=600.0)


async def has_status(world: World, id: str, status: Status) -> bool:
    return await world.status(id) is status


async def purge(actions: Actions, _: Any) -> None:
    async with actions.matching(Action.PURGE, JobFilter(queue="tiles")) as found:
        assert await found.count() == 1
        await found.run(Done(), lambda _: None)


async def cancel_found(actions: Actions, _: Any) -> None:
    async with actions.matching(Action.CANCEL, JobFilter(task="shop:render")) as found:
        await found.run(Done(), lambda _: None)


async def move_found(actions: Actions, _: Any) -> None:
    async with actions.matching(Action.MOVE, JobFilter(queue="tiles"), "slow") as found:
        assert await found.count() == 1
        await found.run(Done(), lambda _: None)


async def is_in_queue(world: World, queue: str) -> bool:
    return any(each.pending == 1 for each in await world.inspector.queues(max_age=0.0) if each.name == queue)


async def resend(actions: Actions, id: str) -> None:
    assert (await actions.resend([id], None))[0]["did"] == "done"


async def has_letters(world: World, number: int) -> bool:
    return len(await world.inspector.dead()) == number


async def discard_found(actions: Actions, _: Any) -> None:
    async with actions.letters("delete", letters.Filter(task="shop:render")) as found:
        assert found.count() == 1
        await found.run(letters.Done(), lambda _: None)


async def a_schedule(world: World) -> str:
    await world.app.schedules.set("nightly", world.render.s(1), every=3600.0)
    return "nightly"


async def a_paused_schedule(world: World) -> str:
    await a_schedule(world)
    await world.app.schedules.pause("nightly")
    return "nightly"


async def schedule_of(world: World) -> Any:
    return next(iter([each async for each in world.app.schedules.list()]), None)


async def a_limit(world: World) -> str:
    limited = world.app.register_task(render_tile, name="shop:limited", limit=Limit("stripe", max_running=3))
    async with world.app.worker():
        await limited.apply_async(1)
    return "stripe"


async def a_set_limit(world: World) -> str:
    await a_limit(world)
    await world.broker.set_limit("stripe", {"max_running": 1})  # type: ignore[attr-defined]
    return "stripe"


async def allows(world: World, number: int) -> bool:
    [found] = await world.inspector.limits()  # type: ignore[attr-defined]
    return bool(found.spec.max_running == number)


async def ok(value: Awaitable[Any]) -> bool:
    return bool(await value)


def pending(number: int) -> Callable[[World, Any], Awaitable[bool]]:
    async def found(world: World, _: Any) -> bool:
        return (await world.inspector.stats(max_age=0.0)).pending == number

    return found


async def schedule_is(world: World, check: Callable[[Any], bool]) -> bool:
    return check(await schedule_of(world))


TRIALS = {
    "pause": Trial(Verb.PAUSE, 'queue "tiles"', a_pending_tile, lambda act, _: act.pause(tiles()), is_paused),
    "resume": Trial(
        Verb.RESUME,
        'queue "tiles"',
        a_paused_queue,
        lambda act, _: act.resume(tiles()),
        lambda world, _: _not(is_paused(world, _)),
    ),
    "purge": Trial(Verb.PURGE, "jobs in queue tiles", a_pending_tile, purge, pending(0)),
    "cancel": Trial(
        Verb.CANCEL,
        "job {}",
        a_job,
        lambda act, id: act.cancel([id]),
        lambda world, id: has_status(world, id, Status.CANCELLED),
    ),
    "cancel what a filter finds": Trial(
        Verb.CANCEL,
        "jobs of task shop:render",
        a_job,
        cancel_found,
        lambda world, id: has_status(world, id, Status.CANCELLED),
    ),
    "run now": Trial(
        Verb.RUN_NOW,
        "job {}",
        a_scheduled_job,
        lambda act, id: act.run_now([id]),
        lambda world, id: has_status(world, id, Status.PENDING),
    ),
    "move": Trial(
        Verb.MOVE,
        "job {} to queue slow",
        a_job,
        lambda act, id: act.move([id], "slow"),
        lambda world, _: is_in_queue(world, "slow"),
    ),
    "move what a filter finds": Trial(
        Verb.MOVE,
        "jobs in queue tiles to queue slow",
        a_pending_tile,
        move_found,
        lambda world, _: is_in_queue(world, "slow"),
    ),
    "resend": Trial(Verb.RESEND, "job {}", World.dead, resend, pending(1)),
    "replay": Trial(
        Verb.REPLAY,
        "dead letter {}",
        World.dead,
        lambda act, id: act.move_letters("replay", [id]),
        lambda world, id: has_status(world, id, Status.PENDING),
    ),
    "discard": Trial(
        Verb.DISCARD,
        "dead letter {}",
        World.dead,
        lambda act, id: act.move_letters("delete", [id]),
        lambda world, _: has_letters(world, 0),
    ),
    "discard what a filter finds": Trial(
        Verb.DISCARD,
        "dead letters of task shop:render",
        World.dead,
        discard_found,
        lambda world, _: has_letters(world, 0),
    ),
    "pause a schedule": Trial(
        Verb.PAUSE,
        "schedule {}",
        a_schedule,
        lambda act, name: act.pause_schedule(name, "the numbers are wrong"),
        lambda world, _: schedule_is(
            world, lambda found: (found.paused_by, found.paused_why) == ("ada", "the numbers are wrong")
        ),
    ),
    "resume a schedule": Trial(
        Verb.RESUME,
        "schedule {}",
        a_paused_schedule,
        lambda act, name: act.steer_schedule(Verb.RESUME, name),
        lambda world, _: schedule_is(world, lambda found: found.paused is None),
    ),
    "remove a schedule": Trial(
        Verb.REMOVE,
        "schedule {}",
        a_schedule,
        lambda act, name: act.steer_schedule(Verb.REMOVE, name),
        lambda world, _: schedule_is(world, lambda found: found is None),
    ),
    "run a schedule": Trial(
        Verb.RUN_NOW, "schedule {}", a_schedule, lambda act, name: act.run_schedule(name), pending(1)
    ),
    "set a limit": Trial(
        Verb.SET_LIMIT,
        "limit {}",
        a_limit,
        lambda act, name: act.set_limit(name, {"max_running": 1}),
        lambda world, _: allows(world, 1),
    ),
    "reset a limit": Trial(
        Verb.RESET_LIMIT,
        "limit {}",
        a_set_limit,
        lambda act, name: act.reset_limit(name),
        lambda world, _: allows(world, 3),
    ),
}


TRIALS |= {
    "drain a host": Trial(
        Verb.DRAIN,
        "host {}",
        a_host,
        lambda act, host: act.steer_hosts(Verb.DRAIN, [host]),
        lambda world, host: steer(world, host, "resume"),
    ),
    "resume a host": Trial(
        Verb.RESUME,
        "host {}",
        a_drained_host,
        lambda act, host: act.steer_hosts(Verb.RESUME, [host]),
        lambda world, host: _not(_stays_drained(world, host)),
    ),
}


async def _stays_drained(world: World, host: str) -> bool:
    """Whether a host is drained; it is so afterwards as it was before."""
    was = await steer(world, host, "resume")
    if was:
        await steer(world, host, "drain")
    return was


async def _not(value: Awaitable[bool]) -> bool:
    return not await value


@pytest.mark.parametrize("name", TRIALS)
async def test_a_verb_needs_its_permission_and_writes_its_line(world: World, name: str) -> None:
    trial = TRIALS[name]
    subject = await trial.prepare(world)

    with pytest.raises(NotAllowed, match=f'"ada" may not {trial.verb.replace("_", " ")}'):
        await trial.act(world.by(*(ACTS - {trial.verb})), subject)
    assert not await trial.is_done(world, subject)
    [refused] = await world.lines()
    assert (refused["verb"], refused["ended"], refused["number"]) == (trial.verb, "refused", 0)

    await trial.act(world.by(trial.verb), subject)
    assert await trial.is_done(world, subject)
    [done, *begun, before] = await world.lines()
    assert before == refused
    # What a filter finds may be many things, and takes long.
    assert [each["ended"] for each in begun] == ["begun"] * ("filter finds" in name or name == "purge")
    named = trial.subject.format(subject)
    assert (done["who"], done["source"], done["verb"], done["subject"]) == ("ada", "10.0.0.7", trial.verb, named)
    assert (done["ended"], done["number"]) == ("done", 1)


async def test_every_verb_is_tried() -> None:
    # These need worker processes: tests of stacks and of hosts try them.
    assert {trial.verb for trial in TRIALS.values()} | {Verb.STACKS, Verb.RECYCLE} == set(Verb)


async def test_an_error_is_a_line_too(world: World) -> None:
    with pytest.raises(ConfigError, match="nightly"):
        await world.by(Verb.PAUSE).pause_schedule("nightly")

    # No app has keys yet on this server: the line is in the log alone, unless an app is named.
    [line] = await world.lines()
    assert (line["ended"], line["subject"]) == ("failed", "schedule nightly")
    assert "There is no schedule" in line["said"]


async def test_the_reason_of_a_pause_is_in_its_line(world: World) -> None:
    await world.by(Verb.PAUSE).pause_schedule(await a_schedule(world), "the numbers are wrong")
    await world.by(Verb.PAUSE).pause(pause_named(queue="mail", why="the server moves"))

    assert [line["said"] for line in await world.lines()] == ["the server moves", "the numbers are wrong"]


async def test_what_was_skipped_is_told(world: World) -> None:
    await world.by(Verb.CANCEL).cancel([await world.send(), "unknown"])

    [line] = await world.lines()
    assert line["number"] == 1 and line["subject"].startswith("2 jobs: ")
    assert line["said"].startswith("1 skipped; the first one: unknown")


async def test_a_pause_is_in_the_name_of_the_visitor(world: World) -> None:
    await world.by(Verb.PAUSE).pause(tiles())

    [pause] = await world.app.pauses()
    assert pause.by == "ada"


async def test_lines_go_to_the_log_and_cannot_pass_for_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiotask.audit")
    visitor = Visitor("eve\naiotask.audit: all fine", ACTS, "10.0.0.9")

    await Actions(world.place, visitor).cancel(["no\x1b[31m"])

    [record] = caplog.records
    assert (record.name, record.levelno) == ("aiotask.audit", logging.INFO)
    assert record.getMessage().isprintable()


async def test_a_line_of_another_secret_is_shown_as_unreadable(world: World) -> None:
    await world.broker.note_action(b"forged")  # type: ignore[attr-defined]

    [line] = await world.lines()
    assert line["ended"] == "unreadable"


async def test_open_connections_are_used_as_they_are(world: World) -> None:
    async with inspectors(world.place) as opened:
        place = Place(opened=tuple(opened))
        async with inspectors(place) as again:
            assert again == opened
        assert await opened[0].inspector.rejected() == 0


def test_verbs_have_names_that_people_write() -> None:
    assert verbs_named(["run-now", "PAUSE", ""]) == {Verb.RUN_NOW, Verb.PAUSE}
    with pytest.raises(ConfigError, match=r'no verb "paus"\. Did you mean "pause".* run-now, set-limit'):
        verbs_named(["paus"])
    assert operator().may == ACTS
    assert issubclass(NotAllowed, AiotaskError)
