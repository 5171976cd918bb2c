"""Schedules that code declares: deploys, rollbacks, and services that declare the same one."""

from __future__ import annotations

import msgspec
import pytest

from aiotask.brokers.schedules import UNPLANNED, Declaration, Fire, Schedules
from aiotask.errors import BrokerError

from ...seam import MakeBroker, a_push
from .kept import HOUR, declared, names, plan, state_of


async def test_a_younger_generation_removes_what_its_code_does_not_declare_any_more(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("by hand")])
    await schedules.declare_schedules("other", 100.0, [declared("of another")], removes=True)
    await schedules.declare_schedules("shop", 100.0, [declared("kept"), declared("gone")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("kept"), declared("new")], removes=True)

    assert await names(schedules) == ["by hand", "kept", "new", "of another"]


async def test_one_that_its_declarer_cannot_make_stays_as_it_is(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("kept"), declared("broken")], removes=True)
    before = await state_of(schedules, "broken")

    batch = [declared("kept", "daily"), Declaration("broken"), Declaration("never there")]
    assert await schedules.declare_schedules("shop", 200.0, batch, removes=True) == []
    assert await names(schedules) == ["broken", "kept"]
    assert await state_of(schedules, "broken") == before

    await schedules.declare_schedules("shop", 300.0, [declared("kept")], removes=True)
    assert await names(schedules) == ["kept"]


async def test_an_older_generation_has_no_say(schedules: Schedules) -> None:
    """A recycled process of an old release does not bring its schedules back."""
    await schedules.declare_schedules("shop", 100.0, [declared("old"), declared("both")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("both", "daily")], removes=True)
    younger = await state_of(schedules, "both")

    await schedules.declare_schedules("shop", 100.0, [declared("old"), declared("both")], removes=True)

    assert await names(schedules) == ["both"]
    assert await state_of(schedules, "both") == younger


async def test_a_rollback_wins_since_it_was_started_later(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("old")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("new")], removes=True)
    await schedules.declare_schedules("shop", 300.0, [declared("old")], removes=True)

    assert await names(schedules) == ["old"]


async def test_of_one_generation_the_first_declaration_stays(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a"), declared("b")], removes=True)
    before = await state_of(schedules, "a")

    await schedules.declare_schedules("shop", 100.0, [declared("a", "daily"), declared("c")], removes=True)

    assert await state_of(schedules, "a") == before
    assert await names(schedules) == ["a", "b", "c"]


async def test_a_deploy_that_changes_nothing_keeps_the_next_run(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    before = await plan(schedules, "a", HOUR)

    await schedules.declare_schedules("shop", 200.0, [declared("a", call="of the new release")], removes=True)

    after = await state_of(schedules, "a")
    assert (after.due, after.moment) == (before.due, before.moment)
    assert after.sealed == declared("a", call="of the new release").sealed


async def test_a_due_run_of_the_old_moments_comes_before_the_change(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    due = await plan(schedules, "a", -5.0)

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True) == ["a"]
    assert await state_of(schedules, "a") == due
    assert await schedules.fire([Fire(due, due.due + HOUR, due.due + HOUR, due.moment, [a_push("run")])]) == [True]

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True) == []
    assert (await state_of(schedules, "a")).moment == UNPLANNED


async def test_a_due_run_that_no_keeper_can_send_does_not_stop_a_deploy_for_ever(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    await plan(schedules, "a", -5.0)

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True, force=True) == []
    assert (await state_of(schedules, "a")).sealed == declared("a", "daily").sealed


async def test_a_worker_in_a_loop_only_adds(schedules: Schedules) -> None:
    """A laptop does not end the schedules of production."""
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    before = await state_of(schedules, "a")

    await schedules.declare_schedules("in-loop", 0.0, [declared("a", "daily"), declared("mine")], removes=False)
    assert await state_of(schedules, "a") == before
    assert await names(schedules) == ["a", "mine"]

    # What it has added it may change, and a service takes it over.
    await schedules.declare_schedules("in-loop", 0.0, [declared("mine", call="again")], removes=False)
    assert (await state_of(schedules, "mine")).sealed == declared("mine", call="again").sealed
    await schedules.declare_schedules("shop", 50.0, [declared("mine")], removes=True)
    assert (await state_of(schedules, "mine")).by == "in-loop"
    await schedules.declare_schedules("shop", 200.0, [declared("a"), declared("mine")], removes=True)
    assert (await state_of(schedules, "mine")).by == "shop"


async def test_code_without_schedules_removes_those_that_it_had(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [], removes=True)
    assert await names(schedules) == []

    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    assert await names(schedules) == []


@pytest.mark.parametrize("other", ["mail", "in-loop"])
async def test_what_other_code_declares_too_is_left_to_it(schedules: Schedules, other: str) -> None:
    """A deploy of one service that drops a schedule does not cost the others its next run."""
    generation, removes = (100.0, True) if other == "mail" else (0.0, False)
    await schedules.declare_schedules("shop", 200.0, [declared("both"), declared("mine")], removes=True)
    await schedules.declare_schedules(other, generation, [declared("both", call="of mail")], removes=removes)
    before = await plan(schedules, "both", HOUR)
    assert before.by == "shop"

    await schedules.declare_schedules("shop", 300.0, [], removes=True)

    assert await names(schedules) == ["both"]
    after = await state_of(schedules, "both")
    assert (after.by, after.due, after.moment) == (other, before.due, before.moment)
    # From now on what that code says counts, and it may remove the schedule.
    await schedules.declare_schedules(other, generation, [declared("both", call="of mail")], removes=removes)
    after = await state_of(schedules, "both")
    assert (after.sealed, after.due) == (declared("both", call="of mail").sealed, before.due)
    if removes:
        await schedules.declare_schedules(other, 400.0, [], removes=True)
        assert await names(schedules) == []


async def test_what_other_code_cannot_make_now_is_left_to_it_too(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 200.0, [declared("both")], removes=True)
    await schedules.declare_schedules("mail", 100.0, [Declaration("both")], removes=True)

    await schedules.declare_schedules("shop", 300.0, [], removes=True)

    assert (await state_of(schedules, "both")).by == "mail"


async def test_code_that_has_dropped_a_schedule_is_no_heir_of_it(schedules: Schedules) -> None:
    await schedules.declare_schedules("mail", 100.0, [declared("both"), declared("own")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("both")], removes=True)
    await schedules.declare_schedules("mail", 250.0, [declared("own")], removes=True)
    assert (await state_of(schedules, "both")).by == "shop"

    await schedules.declare_schedules("shop", 300.0, [], removes=True)

    assert await names(schedules) == ["own"]


async def test_which_code_declares_a_schedule_is_told_with_its_moments(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("by hand")])
    await schedules.declare_schedules("shop", 200.0, [declared("both"), declared("mine")], removes=True)
    await schedules.declare_schedules("mail", 100.0, [declared("both", "daily")], removes=True)

    found = {(each.name, each.by): each.moments for each in await schedules.declared_schedules()}

    assert found == {("both", "shop"): b"hourly  ", ("both", "mail"): b"daily   ", ("mine", "shop"): b"hourly  "}


async def test_nothing_is_declared_beside_a_worker_of_an_older_release(
    another_broker: MakeBroker, schedules: Schedules
) -> None:
    if schedules.url.startswith("memory"):
        pytest.skip("a memory broker has workers of one release")
    old = another_broker()
    await old.enlist("attic.1", "attic", msgspec.msgpack.encode({"host": "attic", "release": 1}))

    with pytest.raises(BrokerError, match=r'"attic".* does not know schedules'):
        await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    with pytest.raises(BrokerError, match='"attic"'):
        await schedules.set_schedules([declared("a")])
