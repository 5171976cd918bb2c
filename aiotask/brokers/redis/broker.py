"""The broker on Redis 6.2+ or Valkey: streams, consumer groups and one script per verb."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from typing import Any

from ...broker import (
    BATCH_BYTES,
    BATCH_JOBS,
    Begin,
    Cancelled,
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
from ...errors import BrokerError, ConnectionLost
from ...job import Obituary
from ...loops.delay import BrokerDelay
from ...values.unique import is_unique
from ..graphs import GraphsDue
from ..lanes import kind_of_requeue, lane_of, line_of
from ..shown import hide_password
from .apps import Listed
from .audit import AuditVerbs
from .claims import Claims
from .codec import (
    LIVENESS,
    RECORDING,
    SETTLED,
    add_finishes,
    deliveries,
    encode_meta,
    encode_obituary,
    frame,
    frames,
    job_state,
    milliseconds,
    overflow,
    pack_rows,
    push_arguments,
    server_url,
    text,
    whole,
)
from .connection import Wire
from .due_now import DueNowVerbs
from .expiry import Expiries, jobs_in
from .graphs import GraphVerbs, nodes_among
from .hides import HideVerbs
from .history import HistoryReader, HistoryVerbs
from .keys import prefix
from .kids import Kids
from .metrics import MetricsVerbs
from .moving import MovingVerbs
from .pauses import PauseVerbs
from .repair import audit
from .schedules import ScheduleVerbs, due_of
from .script import script
from .streams import StreamVerbs
from .sweep import Sweep

__all__ = ["RedisBroker"]

#: Replies of push.lua for an accepted batch: by this call, or by an earlier attempt.
_IN = (0, 1)
#: Seconds without a message after which a subscriber sends a ping, to check that the connection lives.
_PING_EVERY = 4.0

#: Dead letters in one call: the script moves their envelopes, which may be large.
_LETTERS = 50


class RedisBroker(
    AuditVerbs,
    Claims,
    GraphVerbs,
    Kids,
    DueNowVerbs,
    MovingVerbs,
    Expiries,
    HideVerbs,
    HistoryVerbs,
    Listed,
    MetricsVerbs,
    PauseVerbs,
    ScheduleVerbs,
    StreamVerbs,
):
    """One app on one server, for one event loop.

    Three connections, each opened at first use: commands, a worker's claims (which may block), and
    the subscription of a client.
    """

    def __init__(self, url: str, app: str) -> None:
        self.server = server_url(url)
        self.prefix = prefix(app)
        self.app = app
        self.wire = Wire(self.server, prefix=self.prefix)
        self._waiting = Wire(self.server, prefix=self.prefix)
        self._history = HistoryReader(self.wire, self._waiting, self.prefix)
        self._sweep = Sweep(self.wire, self.prefix)
        self._waiting_id: int | None = None
        self._waiting_seen = 0
        #: The generation of that connection at the last claim.
        self._claimed_over = 0
        self._subscriptions: set[Wire] = set()
        self._epochs: dict[str, bytes] = {}
        #: The epoch of the server in which each host renewed last.
        self._renewed: dict[str, bytes] = {}
        #: Whether finished jobs are recorded, as finish.lua last replied.
        self._is_recorded = False

    @property
    def url(self) -> str:
        return hide_password(self.server)

    async def open(self) -> None:
        facts = await self.wire.call("INFO", "server")
        if not isinstance(facts, bytes) or b"redis_version:" not in facts:
            raise BrokerError(
                f'What answers at "{self.url}" is not a Redis or Valkey server. Check the host and the port.'
            )
        version = tuple(int(part) for part in facts.partition(b"redis_version:")[2].split(b"\r")[0].split(b".")[:2])
        if version < (6, 2):
            raise BrokerError(
                f'The server at "{self.url}" is version {version[0]}.{version[1]}; aiotask needs Redis 6.2 or Valkey.'
            )

    async def close(self) -> None:
        await self.wire.close()
        await self._waiting.close()

    def abandon(self) -> None:
        for wire in (self.wire, self._waiting, *self._subscriptions):
            wire.abandon()

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        name, args = push_arguments(client, sequence, batch, room, drop)
        reply = await self._run(name, *args)
        if sequence == 1:
            await self.list_app()
        return overflow(reply)

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        calls = [push_arguments(client, sequence + n, batch, behind=n > 0) for n, batch in enumerate(row)]
        replies = await self.wire.run_row(self.prefix, [(script(name), args) for name, args in calls])
        if sequence == 1:
            await self.list_app()
        return len(list(takewhile(_IN.__contains__, replies)))

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        states: list[JobState] = []
        # Outcomes may be large: the script answers for as many ids as fit into its reply.
        while len(states) < len(ids):
            asked = ids[len(states) : len(states) + BATCH_JOBS]
            reply = await self._run("status", address, BATCH_BYTES, *asked)
            states += map(job_state, reply[::2], reply[1::2])
        return states

    async def listen(
        self, address: str, on_notices: Callable[[list[Notice]], None], on_subscribed: Callable[[], None]
    ) -> None:
        wire = Wire(self.server)
        self._subscriptions.add(wire)
        delay = BrokerDelay()

        def on_message(message: Any) -> None:
            if message[0] == b"message":
                on_notices(frames(message[2]))

        def subscribed() -> None:
            delay.reset()
            on_subscribed()

        try:
            while True:
                try:
                    await wire.listen(f"{self.prefix}to:{address}", on_message, subscribed, _PING_EVERY)
                except BrokerError:
                    await delay.wait()
        finally:
            self._subscriptions.discard(wire)
            await wire.close()

    async def publish(self, address: str, notice: Notice) -> bool:
        return bool(await self.wire.call("PUBLISH", f"{self.prefix}to:{address}", frame(notice)))

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        reply = await self._run("cancel", id, outcome, milliseconds(result_ttl))
        return Cancelled(reply.decode())

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        if incarnation in self._epochs or incarnation.rpartition(".")[0] != host:
            raise BrokerError(
                f'"{incarnation}" cannot be enlisted on "{host}": each name is used only once. Take a new one.'
            )
        await self.list_app()
        self._epochs[incarnation] = await self._run("enlist", incarnation, facts, secrets.token_hex(8))

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        args: list[Any] = [incarnation]
        for item in batch:
            claim = item.delivery
            args += (claim.lane, claim.entry, claim.id, milliseconds(item.result_ttl), item.lost)
        return [answer == 1 for answer in await self._run("begin", *args)]

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        rows = pack_rows(batch) if self._is_recorded else b""
        args: list[Any] = [incarnation, self._epoch(incarnation), "1" if repeat else "", rows]
        add_finishes(args, batch)
        reply = await self._run("finish", *args)
        self._is_recorded = reply[0] == RECORDING
        return [SETTLED[code] for code in reply[1:]], LIVENESS[reply[0]]

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        args: list[Any] = [incarnation, self._epoch(incarnation)]
        for item in batch:
            delivery = item.delivery
            kind = kind_of_requeue(suspect=delivery.suspect and item.delay <= 0, behind=item.behind)
            args += (
                delivery.lane,
                delivery.entry,
                f"{line_of(item.queue, item.priority, item.limit)}|" if item.limit else lane_of(item.queue, kind),
                item.delay,
                encode_meta(item.meta),
                item.need,
                item.reply,
                item.sealed or b"",
            )
        reply = await self._run("requeue", *args)
        codes = [SETTLED[code] for code in reply[1:]]
        if repeat:
            codes = [Settled.BEFORE if code is Settled.NOT_YOURS else code for code in codes]
        return codes, LIVENESS[reply[0]]

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        args: list[Any] = []
        for misfit, reason in batch:
            args += (misfit.lane, misfit.entry, misfit.id, reason)
        await self._run("reject", *args)

    async def parked(self, needs: Sequence[str]) -> list[str]:
        found = set(map(text, await self.wire.call("SMEMBERS", f"{self.prefix}parked")))
        return [need for need in needs if need in found and await self._has_parked(need)]

    async def _has_parked(self, need: str) -> bool:
        # A worker that waits at an empty lane would keep it for ever.
        try:
            return bool(await self.wire.call("XLEN", f"{self.prefix}parked:{need}"))
        except ConnectionLost:
            raise
        except BrokerError:
            # Something else stands in the place of the lane; a claim puts that right.
            return True

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        if not ids:
            return []
        # The first 8 bytes are the TTL of the outcome.
        return [mark and mark[8:] for mark in await self.wire.call("HMGET", f"{self.prefix}marks", *ids)]

    # ---- keeping

    async def renew(self, host: str, counter: int) -> Liveness:
        code, epoch = await self._run("renew", host, counter, self._renewed.get(host, b""), secrets.token_hex(8))
        liveness = LIVENESS[code]
        if liveness is Liveness.LIVE:
            self._renewed[host] = epoch
        elif liveness is Liveness.FORGOTTEN:
            self._renewed.pop(host, None)
        return liveness

    async def leases(self) -> dict[str, int]:
        flat = await self.wire.call("HGETALL", f"{self.prefix}leases")
        counters = {text(host): whole(counter) for host, counter in zip(flat[::2], flat[1::2], strict=True)}
        return {host: counter for host, counter in counters.items() if "\ufffd" not in host}

    async def declare_dead(self, host: str, counter: int | None = None) -> bool:
        is_dead = bool(await self._run("declare_dead", host, "" if counter is None else counter))
        if is_dead:
            self._sweep.hurry()
        return is_dead

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        keep: Collection[str] = (),
    ) -> Recovered:
        known = encode_obituary(obituary)
        try:
            reply = await self._run("recover", dead, reason, known, BATCH_JOBS, len(blame), *blame, *keep)
        except BrokerError as error:
            if not dead and not isinstance(error, ConnectionLost):
                # A damaged key stops the recovery; the index is repaired all the same.
                await audit(self.wire, self.prefix, graphs=self.graphs_due > 0)
            raise
        if not dead and not reply[1]:
            await audit(self.wire, self.prefix, graphs=self.graphs_due > 0)
            await self._sweep.run()
        return Recovered(reply[0], deliveries(reply, 2), bool(reply[1]))

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        moved, until, graphs, *others = await self._run("promote", limit)
        self.graphs_due = GraphsDue(graphs)
        self.expired, self.schedules_due = jobs_in(others), due_of(others)
        return moved, float(until) if until else None

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        return await self._move_letters("replay", ids)

    async def _move_letters(self, script: str, ids: Sequence[str]) -> list[Replayed]:
        moved: list[Replayed] = []
        for start in range(0, len(ids), _LETTERS):
            some = ids[start : start + _LETTERS]
            nodes = await nodes_among(self.wire, self.prefix, some)
            answers = iter(await self._run(script, *(id for id in some if id not in nodes)))
            moved += [Replayed.GRAPH if id in nodes else Replayed(next(answers).decode()) for id in some]
        return moved

    async def discard(self, ids: Sequence[str]) -> list[Replayed]:
        return await self._move_letters("discard", ids)

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        # An unfinished job has no outcome.
        return [await (self._forget_unique(id) if is_unique(id) else self.forget_one(id)) for id in ids]

    async def _forget_unique(self, id: str) -> bool:
        (was_there,) = await self._run("release_key", id)
        return bool(was_there)
