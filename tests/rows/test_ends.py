"""How claimed rows end or go back, and what the dead have left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa

from aiotask.broker import BATCH_JOBS, Finish, Liveness, Requeue, Settled
from aiotask.brokers.sql import inspect
from aiotask.brokers.sql.broker import RowBroker
from aiotask.errors import WorkerLost
from aiotask.job import Meta, Status
from aiotask.keeper.presence import Presence, is_near
from aiotask.wire.ended import ended
from aiotask.wire.seal import Sealer

from .shop import Shop, claim, enlisted, finish, ids

# ---- ends


async def test_an_end_counts_once_and_for_its_claim_alone(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(2)
    first, second = await claim(worker)
    assert await finish(worker, first) == [Settled.DONE]
    assert await finish(worker, first) == [Settled.NOT_YOURS]
    assert await finish(worker, first, repeat=True) == [Settled.BEFORE]
    other = await enlisted(shop, "other.1")
    await keeper.recover("host.1")
    [again] = await claim(other, name="other.1")
    assert (again.id, again.returned) == (second.id, True)
    assert await finish(worker, second, repeat=True) == [Settled.NOT_YOURS]
    assert shop.row(2).status == "RUNNING"
    assert await finish(other, again) == [Settled.DONE]
    assert shop.row(2).claims == 2


async def test_changes_of_a_run_that_lost_its_row_are_dropped(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(1)
    [delivery] = await claim(worker)
    in_hand = worker._in_hand[delivery.id]
    in_hand.row.n = 7
    await keeper.recover("host.1")
    assert await finish(worker, delivery) == [Settled.NOT_YOURS]
    assert (shop.row().n, shop.row().status) == (0, "PENDING")


async def test_a_row_that_was_deleted_meanwhile_harms_no_other(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    claimed = await claim(worker)
    with shop.app.session() as session:
        session.execute(sa.delete(shop.thumbnail).where(shop.thumbnail.id == 2))
    assert await finish(worker, *claimed) == [Settled.DONE, Settled.NOT_YOURS, Settled.DONE]


async def test_a_release_counts_nothing_and_a_retry_counts_an_attempt(shop: Shop, worker: RowBroker) -> None:
    shop.fill(2)
    first, second = await claim(worker)
    batch = [Requeue(first, "thumbnails", first.meta), Requeue(second, "thumbnails", Meta(2), delay=60.0)]
    assert (await worker.requeue("host.1", batch))[0] == [Settled.DONE, Settled.DONE]
    assert (await worker.requeue("host.1", batch, repeat=True))[0] == [Settled.BEFORE, Settled.BEFORE]
    released, retried = shop.rows()
    assert (released.status, released.attempt, released.failures) == ("PENDING", 1, None)
    assert (retried.status, retried.attempt, len(retried.failures)) == ("RETRYING", 2, 1)
    assert retried.due_at > datetime.now(UTC) + timedelta(seconds=50)


# ---- the dead


async def test_a_death_makes_a_suspect_that_runs_alone_and_three_end_it(shop: Shop, keeper: RowBroker) -> None:
    shop.fill(2)
    for death in range(1, 4):
        name = f"host.{death}"
        worker = await enlisted(shop, name)
        claimed = await claim(worker, name=name, alone=death > 1)
        assert claimed[0].id == "thumbnails/1"
        recovered = await keeper.recover(name, blame=["thumbnails/1"], reason="killed by SIGSEGV")
        assert recovered.moved == len(claimed)
        row = shop.row()
        assert (row.status, row.deaths, row.attempt, row.last_error) == ("PENDING", death, 1, "killed by SIGSEGV")
        assert shop.row(2).deaths == 0
    worker = await enlisted(shop, "host.4")
    assert (await worker.claim("host.4", ["thumbnails"], (), 9)).suspects
    assert ids(await claim(worker, name="host.4", alone=True)) == ["thumbnails/1"]
    [delivery] = (await worker.adopt("host.4", [], ()))[:1]
    assert delivery.suspect
    assert delivery.meta == Meta(1, 3, "killed by SIGSEGV")
    outcome = ended(Sealer([shop.app.rows.secrets[0]], "outcome"), delivery.id, "x", WorkerLost, "three died")
    await worker.finish("host.4", [Finish(delivery, outcome, Status.FAILED, 0.0)])
    row = shop.row()
    assert (row.status, row.last_error, len(row.failures)) == ("FAILED", "WorkerLost: three died", 4)


async def test_one_worker_is_asked_to_run_suspects(shop: Shop, keeper: RowBroker) -> None:
    shop.fill(1)
    first = await enlisted(shop, "host.1")
    await claim(first)
    await keeper.recover("host.1", blame=["thumbnails/1"], reason="died")
    workers = {f"host.{n}": await enlisted(shop, f"host.{n}") for n in range(2, 5)}
    asked = [(await each.claim(name, ["thumbnails"], (), 9)).suspects for name, each in workers.items()]
    assert asked.count(True) == 1


async def test_a_scan_gives_back_the_rows_of_all_that_are_not_live(shop: Shop, worker: RowBroker) -> None:
    keeper = shop.keeper()
    shop.fill(BATCH_JOBS + 20)
    while await claim(worker):
        pass
    assert await keeper.recover() == await keeper.recover()
    assert await keeper.declare_dead("host")
    moved, more = 0, True
    while more:
        recovered = await keeper.recover()
        moved, more = moved + recovered.moved, recovered.more
    assert moved == BATCH_JOBS + 20
    assert {row.status for row in shop.rows()} == {"PENDING"}


async def test_rows_to_keep_stay_with_the_keeper_until_it_has_ended_them(shop: Shop, worker: RowBroker) -> None:
    keeper, another = shop.keeper(), shop.keeper()
    shop.fill(2)
    await claim(worker)
    recovered = await keeper.recover("host.1", keep=["thumbnails/2"])
    assert (recovered.moved, ids(recovered.kept)) == (1, ["thumbnails/2"])
    assert (await another.recover()).moved == 0
    [kept] = recovered.kept
    assert (await keeper.requeue("host.1", [Requeue(kept, "thumbnails", Meta(2), delay=5.0)]))[0] == [Settled.DONE]
    assert (shop.row(2).status, shop.row(2).attempt) == ("RETRYING", 2)
    await keeper.recover("host.1")
    assert await inspect(keeper).workers() == []


async def test_leases_and_the_death_of_a_host(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    assert await keeper.renew("host", 1) is Liveness.LIVE
    assert await keeper.renew("other", 7) is Liveness.LIVE
    leases = await keeper.leases()
    assert leases == {"host": 1, "other": 7}
    assert not await keeper.declare_dead("other", 6)
    assert await keeper.declare_dead("other", 7)
    assert list(await keeper.leases()) == ["host"]
    assert await shop.keeper().declare_dead("host")
    assert await keeper.renew("host", 2) is Liveness.DEAD
    assert await inspect(keeper).workers() == []


async def test_a_host_on_this_machine_lives_while_one_of_its_processes_has_the_lock(shop: Shop) -> None:
    """Only then its lease moves by itself on SQLite: a file without a lock keeps no dead host alive."""
    name = f"test-{uuid4().hex}"
    keeper, presence = shop.keeper(), Presence(name)
    try:
        await keeper.renew(name, 1)
        first, second = [(await keeper.leases())[name] for _ in range(2)]
        assert (first != second) == shop.app.database.open().is_sqlite
        presence.cells = ()
        presence._map.close()
        assert is_near(name)
        assert [(await keeper.leases())[name] for _ in range(2)] == [1, 1]
        assert await keeper.declare_dead(name, 1)
    finally:
        presence.remove()
