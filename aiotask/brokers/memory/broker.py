"""The memory broker: the same verbs on plain state of this process.

For tests, notebooks and in-loop workers: no job outlives the process, and no other process sees its jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from ...broker import (
    BATCH_JOBS,
    Begin,
    Cancelled,
    Claim,
    Delivery,
    Finish,
    JobState,
    Liveness,
    Notice,
    Overflow,
    Push,
    Recovered,
    Replayed,
    Requeue,
    Room,
    Settled,
)
from ...errors import BrokerError
from ...inspector import DeadLetter
from ...job import Meta, Obituary, Status
from ..expiry import Expired
from ..lanes import BELL, claim_order, lane_of, parked_lane
from ..metrics import Observed
from .audit import AuditVerbs
from .due_now import DueNowVerbs
from .graphs import GraphStore
from .hides import HideVerbs
from .history import HistoryVerbs
from .inspector import workers_of
from .limits import MemoryLimits
from .moving import MovingVerbs
from .pages import stats_of
from .record import Ending, Record
from .schedules import MemorySchedules
from .store import Store
from .stores import store_of
from .stream_verbs import StreamVerbs
from .wakeup import Bell, Listener

__all__ = ["MemoryBroker", "push_now"]


class MemoryBroker(
    AuditVerbs, HideVerbs, MemoryLimits, MemorySchedules, StreamVerbs, DueNowVerbs, MovingVerbs, HistoryVerbs
):
    """Broker and Inspector of one app; all objects with the same URL and app share one state.

    Args:
        url: ``memory://`` or ``memory://NAME``.
        app: name of the app.
    """

    def __init__(self, url: str, app: str) -> None:
        super().__init__(store_of(url, app))
        self._url = url
        self._sleeping: Bell | None = None
        self._is_woken = False
        self.expired: Sequence[Expired] = ()

    @property
    def url(self) -> str:
        return self._url

    async def open(self) -> None:
        async with self._store:
            pass  # refuses a forked child

    async def close(self) -> None:
        await self.wake()

    def abandon(self) -> None:
        """Do nothing: the memory broker has no socket to close."""

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        async with self._store as store:
            return store.accept(client, sequence, batch, room, drop)

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        async with self._store as store:
            for number, batch in enumerate(row, sequence):
                store.accept(client, number, batch, None, ())
        return len(row)

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        async with self._store as store:
            return [store.status(id, address) for id in ids]

    async def listen(
        self, address: str, on_notices: Callable[[list[Notice]], None], on_subscribed: Callable[[], None]
    ) -> None:
        listener = Listener()
        async with self._store as store:
            store.listeners[address].add(listener)
        try:
            on_subscribed()
            while True:
                await listener.rung()
                with store.lock:
                    notices = listener.take()
                if notices:
                    on_notices(notices)
        finally:
            with store.lock:
                store.remove_listener(address, listener)

    async def publish(self, address: str, notice: Notice) -> bool:
        async with self._store as store:
            store.notify({address}, notice)
            return address in store.listeners

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        async with self._store as store:
            return store.cancel(id, Ending(outcome, Status.CANCELLED, result_ttl))

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        async with self._store as store:
            known = incarnation in store.live or incarnation in store.dead_incarnations
            if known or incarnation.rpartition(".")[0] != host:
                raise BrokerError(
                    f'"{incarnation}" cannot be enlisted on "{host}": an incarnation is called HOST.NAME '
                    "and each name is used only once. Take a new one."
                )
            store.live[incarnation] = host, facts
            # The host has a lease from now on, since its keeper may die before the first renewal.
            store.leases.setdefault(host, 0)
            store.dead_hosts.discard(host)

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        async with self._store as store:
            liveness = store.liveness(incarnation)
            if liveness is not Liveness.LIVE:
                return Claim([], liveness)
            if alone:
                return Claim(store.claim_suspect(incarnation, queues))
            is_paused = any(map(store.is_paused, queues))
            if store.volunteers(incarnation, queues):
                return Claim([], suspects=True, paused=is_paused)
            found = self._claim_both(store, incarnation, queues, list(needs), limit)
            return Claim(found, paused=is_paused or self.is_behind(found), waits=store.waits)

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        order = claim_order(queues, needs, by_queue=self.by_queue)
        bell = self._sleeping = Bell()
        self._is_woken = False
        async with self._store as store:
            store.bells[bell] = frozenset([*order, *(lane_of(queue, BELL) for queue in queues)])
        try:
            async with asyncio.timeout(timeout):
                while True:
                    with store.lock:
                        claim = self._claim_one(store, incarnation, queues, order)
                        until = store.wake()
                    if claim.deliveries or claim.liveness is not Liveness.LIVE or self._is_woken:
                        return claim
                    # A rate may admit the next job sooner than a bell rings.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(until):
                            await bell.rung()
        except TimeoutError:
            return Claim([], store.liveness(incarnation))
        finally:
            self._sleeping = None
            with store.lock:
                store.bells.pop(bell, None)

    def _claim_one(self, store: Store, incarnation: str, queues: Sequence[str], order: Sequence[str]) -> Claim:
        liveness = store.liveness(incarnation)
        if liveness is not Liveness.LIVE:
            return Claim([], liveness)
        found = store.claim(incarnation, order, 1) or store.admit(incarnation, queues, min(1, self.free_seats))
        return Claim(found, liveness, paused=self.is_behind(found))

    async def wake(self) -> None:
        if self._sleeping is not None:
            self._is_woken = True
            self._sleeping.ring()

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        async with self._store as store:
            return [record.as_claimed() for record in store.claimed() if record.owner == incarnation]

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        async with self._store as store:
            return [store.begin(incarnation, item) for item in batch]

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        async with self._store as store:
            return [_finish(store, item, repeat) for item in batch], store.liveness(incarnation)

    async def finish_special(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness, bool]:
        settled, liveness = await self.finish(incarnation, batch, repeat=repeat)
        return settled, liveness, False  # every end feeds what is downstream at once

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        async with self._store as store:
            return [_requeue(store, item, repeat) for item in batch], store.liveness(incarnation)

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        async with self._store as store:
            for delivery, reason in batch:
                record = store.take_back(delivery)
                if record is not None:
                    store.set_aside(record, reason)
                elif not delivery.lane:
                    store.rejected += 1

    async def parked(self, needs: Sequence[str]) -> list[str]:
        async with self._store as store:
            return [need for need in needs if store.has_waiting(parked_lane(need))]

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        async with self._store as store:
            return [cancel.outcome if (cancel := store.cancels.get(id)) else None for id in ids]

    # ---- keeping

    async def renew(self, host: str, counter: int) -> Liveness:
        async with self._store as store:
            if host in store.dead_hosts:
                return Liveness.DEAD
            store.leases[host] = counter
            store.renewed_hosts.add(host)
            return Liveness.LIVE

    async def leases(self) -> dict[str, int]:
        async with self._store as store:
            return dict(store.leases)

    async def declare_dead(self, host: str, counter: int | None = None) -> bool:
        async with self._store as store:
            if counter is not None and store.leases.get(host) != counter:
                return False
            store.declare_host_dead(host)
            is_lost = counter is not None
            store.metrics.forget_host(host, lost=is_lost)
            store.runs["lost"] += is_lost
            return True

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        keep: Collection[str] = (),
    ) -> Recovered:
        moved = 0
        kept: list[Delivery] = []
        async with self._store as store:
            if dead:
                store.declare_dead(dead)
            for record in store.claimed():
                if record.owner in store.live or (dead and record.owner != dead):
                    continue
                if moved == BATCH_JOBS:
                    return Recovered(moved, kept, more=True)
                store.note_checkpoint(record)
                if record.id in keep:
                    kept.append(record.as_claimed())
                    continue
                host = "" if dead else record.owner.rpartition(".")[0]
                if is_lost := store.metrics.is_lost(host):
                    store.metrics.note_given_back(host)
                is_blamed = record.id in blame
                store.give_back(record, blamed=is_blamed, lost=is_lost, reason=reason, obituary=obituary)
                moved += 1
        return Recovered(moved, kept)

    async def observe(self, host: str, sequence: int, observed: Observed, report: bytes) -> None:
        async with self._store as store:
            leased, workers = host in store.leases, workers_of(store)
            store.metrics.observe(host, sequence, observed, report, lambda: stats_of(store, workers), leased=leased)

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        async with self._store as store:
            self.expired = store.expired()
            return store.promote(limit)

    async def seconds_left(self, ids: Sequence[str]) -> list[float | None]:
        async with self._store as store:
            return store.seconds_left(ids)

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        async with self._store as store:
            return [_replay(store, id) for id in ids]

    async def discard(self, ids: Sequence[str]) -> list[Replayed]:
        async with self._store as store:
            return [_discard(store, id) for id in ids]

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        async with self._store as store:
            return [_forget(store, id) for id in ids]


def push_now(
    url: str,
    app: str,
    client: str,
    sequence: int,
    batch: Sequence[Push],
    room: Room | None = None,
    drop: Sequence[Finish] = (),
) -> Overflow | None:
    """``push`` for code without an event loop."""
    store = store_of(url, app)
    store.refuse_fork()
    with store.lock:
        return store.accept(client, sequence, batch, room, drop)


def _finish(store: Store, item: Finish, repeat: bool) -> Settled:
    record = store.take_back(item.delivery)
    if record is not None:
        store.end(record, Ending(item.outcome, item.status, item.result_ttl, item.reply, item.dead))
        return Settled.DONE
    id = item.delivery.id
    if id in store.results:
        return Settled.BEFORE if store.results[id][0] == item.outcome else Settled.NOT_YOURS
    is_gone = item.result_ttl <= 0 and id not in store.index
    return Settled.BEFORE if repeat and is_gone else Settled.NOT_YOURS


def _forget(store: GraphStore, id: str) -> bool:
    store.free_period(id)
    return store.forget_outcome(id)


def _requeue(store: Store, item: Requeue, repeat: bool) -> Settled:
    record = store.take_back(item.delivery)
    if record is not None:
        store.requeue(record, item)
        return Settled.DONE
    return Settled.BEFORE if repeat else Settled.NOT_YOURS


def _replay(store: GraphStore, id: str) -> Replayed:
    if id not in store.dead:
        return Replayed.MISSING
    _, letter = store.dead[id]
    stored = store.results.get(id)
    record = Record(id, "", letter.job, "", Meta(series=int(store.clock.time() * 1000)))
    if _is_of_graph(store, letter):
        return Replayed.GRAPH
    is_taken = id in store.index or (stored is not None and stored[0] != letter.outcome)
    if not record.sent_lane or is_taken or not store.take_key(id):
        return Replayed.OUTDATED
    del store.dead[id]
    store.results.pop(id, None)
    store.drop_stream(id)
    store.cancels.pop(id, None)
    record.queue = record.sent_to
    store.queues.add(record.queue)
    store.place(record, record.sent_lane)
    return Replayed.DONE


def _discard(store: GraphStore, id: str) -> Replayed:
    if id not in store.dead:
        return Replayed.MISSING
    _, letter = store.dead[id]
    if _is_of_graph(store, letter):
        return Replayed.GRAPH
    del store.dead[id]
    return Replayed.DONE


def _is_of_graph(store: GraphStore, letter: DeadLetter) -> bool:
    """Whether a dead letter is of a job whose graph is still there."""
    return Record(letter.id, "", letter.job, "").graph in store.graphs
