"""The read side on Redis: counts, lists and single jobs, each bounded; nothing is ever unpickled."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import BrokerError, SealError
from ...inspector import DeadLetter, Durability, JobInfo, Persistence, QueueInfo, ServerFacts, WorkerInfo
from ...job import Meta, Status
from ...outcome import decode_outcome
from ...wire.seal import OVERHEAD
from ..lanes import ADMITTED, KINDS, SUSPECT, all_lanes, claim_order, is_parked, lane_of, need_of, parked_lane, queue_of
from .broker import RedisBroker
from .codec import decode_meta, id_of, server_url, text, whole
from .connection import Wire
from .graph_reader import GraphReader
from .history import unrecorded
from .keys import GROUP, in_index
from .kids import KidsView
from .limits import LimitsView, lined_jobs
from .script import script
from .topology import cluster_warning, find_misfit, parse_info

__all__ = ["RedisInspector", "namespaces"]

_PAGE = 500
#: Fields of INFO that tell whether a write failed, and a description of each write.
_WRITING = {
    "aof_last_write_status": "writing its append-only file",
    "aof_last_bgrewrite_status": "rewriting its append-only file",
    "rdb_last_bgsave_status": "saving a snapshot",
}


#: How a log is kept, by the setting appendfsync.
_LOGS = {
    "no": Persistence.LOG_BY_SYSTEM,
    "everysec": Persistence.LOG_EACH_SECOND,
    "always": Persistence.LOG_EACH_WRITE,
}


async def namespaces(url: str) -> list[str]:
    """Names of the apps that have keys on this server, found by a bounded scan."""
    wire = Wire(server_url(url))
    found: set[str] = set()
    try:
        for suffix in ("queues", "live"):
            cursor: Any = b"0"
            while True:
                cursor, keys = await wire.call("SCAN", cursor, "MATCH", f"aiotask1:{{*}}:{suffix}", "COUNT", 1000)
                found.update(text(key)[len("aiotask1:{") : -len(f"}}:{suffix}")] for key in keys)
                if cursor == b"0":
                    break
    finally:
        await wire.close()
    return sorted(found)


def _pairs(flat: list[Any]) -> dict[str, Any]:
    return {text(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


class RedisInspector(GraphReader, KidsView, LimitsView):
    """Reads one app's keys; costs the server little, whatever the number of jobs."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._wire = broker.wire
        self._prefix = broker.prefix

    async def facts(self) -> ServerFacts:
        info = parse_info(await self._wire.call("INFO"))
        valkey = "valkey_version" in info
        kind = "valkey" if valkey else "redis"
        version = info["valkey_version"] if valkey else info.get("redis_version", "?")
        misfit = await find_misfit(info, self._wire.call, self._prefix)
        if misfit:
            nowhere = Durability(Persistence.MEMORY, "memory")
            return ServerFacts(kind, version, nowhere, unfit=misfit.fault, remedy=misfit.remedy)
        seconds, micros = await self._wire.call("TIME")
        durability, warnings = await self._durability(info)
        if caution := await cluster_warning(info, self._wire.call):
            warnings.append(caution)
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and info.get("maxmemory", "0") != "0":
            warnings.append(
                f'The server may evict jobs when its memory is full (maxmemory-policy "{policy}"). '
                "Set maxmemory-policy noeviction."
            )
        return ServerFacts(
            kind=kind,
            version=version,
            durability=durability,
            memory_limit=int(info.get("maxmemory", 0)),
            memory_used=int(info.get("used_memory", 0)),
            evicts="" if policy == "noeviction" else policy,
            expiring=sum(
                int(found[1])
                for name, value in info.items()
                if name.startswith("db") and (found := re.search(r"expires=(\d+)", value))
            ),
            unsaved=int(seconds) - int(saved) if (saved := info.get("rdb_last_save_time", "0")) != "0" else None,
            replicas=int(info.get("connected_slaves", 0)),
            time=int(seconds) + int(micros) / 1e6,
            warnings=warnings,
        )

    async def _durability(self, info: dict[str, str]) -> tuple[Durability, list[str]]:
        """How the server keeps jobs, and warnings about that."""
        warnings = [
            f"The server fails at {what} ({name} is {info[name]}): is its disk full?"
            for name, what in _WRITING.items()
            if info.get(name, "ok") != "ok"
        ]
        if info.get("aof_enabled") == "1":
            fsync = await self._setting("appendfsync") or ""
            return Durability(_LOGS.get(fsync, Persistence.LOG), f"appendonly {fsync}".rstrip()), warnings
        rules = await self._setting("save")
        if rules:
            warnings.append(
                "The server saves jobs in snapshots only: those sent after the last snapshot are lost when it stops. "
                "Set appendonly yes."
            )
            return Durability(Persistence.SNAPSHOTS, "snapshots"), warnings
        warnings.append("The server keeps jobs in memory only: they are lost when it stops. Set appendonly yes.")
        if rules is None:
            return Durability(Persistence.MEMORY_OR_SNAPSHOTS, "no appendonly"), warnings
        return Durability(Persistence.MEMORY, "memory"), warnings

    async def _setting(self, name: str) -> str | None:
        """A setting of the server; None: this user may not read it."""
        try:
            return str((await self._wire.call("CONFIG", "GET", name))[1].decode())
        except (BrokerError, IndexError):
            return None

    # ---- queues

    async def queues(self) -> list[QueueInfo]:
        names = sorted(map(text, await self._wire.call("SMEMBERS", f"{self._prefix}queues")))
        infos = []
        due = await self._due_by_queue()
        dead = await self._wire.call("ZCARD", f"{self._prefix}dead")
        parked = await self._parked_count()
        for n, name in enumerate(names):
            total, claimed = whole(await self._wire.call("GET", f"{self._prefix}lined:{name}") or b"0"), 0
            consumers: set[bytes] = set()
            for lane in all_lanes(name):
                key = self._prefix + lane
                total += await self._wire.call("XLEN", key)
                claimed += await self._claimed(key, consumers)
            infos.append(
                QueueInfo(
                    name,
                    pending=max(0, total - claimed),
                    running=claimed,
                    scheduled=due.get(name, 0),
                    # Jobs without a queue of their own are counted once, with the first queue.
                    parked=parked if n == 0 else 0,
                    dead=dead if n == 0 else 0,
                    consumers=len(consumers),
                )
            )
        return infos

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        if await self._wire.call("EXISTS", f"{self._prefix}agenda") or await self.admits_now(queues):
            return True
        for lane in claim_order(queues):
            length = await self._wire.call("XLEN", self._prefix + lane)
            if length and length > await self._claimed(self._prefix + lane, set()):
                return True
        return False

    async def _claimed(self, key: str, consumers: set[bytes]) -> int:
        try:
            for consumer in await self._wire.call("XINFO", "CONSUMERS", key, GROUP):
                consumers.add(_pairs(consumer)["name"])
            groups = await self._wire.call("XINFO", "GROUPS", key)
        except BrokerError as error:
            if "no such key" in str(error) or "NOGROUP" in str(error):
                return 0
            raise
        return sum(int(_pairs(group)["pending"]) for group in groups)

    async def _due_by_queue(self) -> dict[str, int]:
        """Number of scheduled jobs by queue; those beyond 5,000 count for the queue of the earliest."""
        total = await self._wire.call("ZCARD", f"{self._prefix}due")
        counts: dict[str, int] = {}
        ids = await self._wire.call("ZRANGE", f"{self._prefix}due", 0, 4999) if total else []
        for start in range(0, len(ids), _PAGE):
            for packed in await self._wire.call("HMGET", f"{self._prefix}held", *ids[start : start + _PAGE]):
                if packed:
                    queue = queue_of(_unpack_scheduled(packed)[0])
                    counts[queue] = counts.get(queue, 0) + 1
        if total > len(ids) and counts:
            counts[next(iter(counts))] += total - len(ids)
        return counts

    async def _needs(self) -> list[str]:
        return sorted(map(text, await self._wire.call("SMEMBERS", f"{self._prefix}parked")))

    async def _parked_count(self) -> int:
        return sum([await self._wire.call("XLEN", self._prefix + parked_lane(need)) for need in await self._needs()])

    # ---- workers

    async def workers(self) -> list[WorkerInfo]:
        flat = await self._wire.call("HGETALL", f"{self._prefix}live")
        infos = []
        for name, facts in sorted(_pairs(flat).items()):
            if not name:
                continue
            try:
                decoded = msgspec.msgpack.decode(facts)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                decoded = {}
            infos.append(WorkerInfo(name, name.rpartition(".")[0], decoded if isinstance(decoded, dict) else {}))
        return infos

    # ---- jobs

    async def jobs(
        self, *, status: Status | None = None, queue: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[JobInfo]:
        wanted = limit + offset
        found: list[JobInfo] = []
        for reader in (self._in_lanes, self._in_lines, self._in_due, self.waiting_jobs):
            if len(found) < wanted:
                found += await reader(status, queue, wanted - len(found))
        return found[offset:wanted]

    async def _in_lanes(self, status: Status | None, queue: str | None, limit: int) -> list[JobInfo]:
        queues = [queue] if queue else [name.name for name in await self._queue_names()]
        lanes = [lane_of(name, kind) for kind in (SUSPECT, *KINDS, ADMITTED) for name in queues]
        if queue is None:
            lanes += map(parked_lane, await self._needs())
        found: list[JobInfo] = []
        for lane in lanes:
            if len(found) >= limit:
                break
            claimed = await self._claims(lane)
            start = "-"
            while len(found) < limit:
                entries = await self._wire.call("XRANGE", self._prefix + lane, start, "+", "COUNT", _PAGE)
                for entry, fields in entries:
                    info = _info(lane, entry, fields, claimed)
                    if (status is None or info.status is status) and len(found) < limit:
                        found.append(info)
                if len(entries) < _PAGE:
                    break
                start = "(" + entries[-1][0].decode()
        return found

    async def _in_lines(self, status: Status | None, queue: str | None, limit: int) -> list[JobInfo]:
        if status not in (None, Status.PENDING):
            return []
        return await lined_jobs(self._wire, self._prefix, self._places, queue, limit)

    async def _queue_names(self) -> list[QueueInfo]:
        return [QueueInfo(text(name)) for name in sorted(await self._wire.call("SMEMBERS", f"{self._prefix}queues"))]

    async def _claims(self, lane: str) -> dict[bytes, str]:
        """The owner of each claimed entry of a lane, for at most 10,000 entries."""
        try:
            rows = await self._wire.call("XPENDING", self._prefix + lane, GROUP, "-", "+", 10_000)
        except BrokerError as error:
            if "NOGROUP" in str(error):
                return {}
            raise
        return {row[0]: text(row[1]) for row in rows}

    async def _in_due(self, status: Status | None, queue: str | None, limit: int) -> list[JobInfo]:
        if status not in (None, Status.SCHEDULED, Status.RETRYING):
            return []
        found: list[JobInfo] = []
        start = 0
        while len(found) < limit:
            page = await self._wire.call("ZRANGE", f"{self._prefix}due", start, start + _PAGE - 1, "WITHSCORES")
            if not page:
                break
            start += _PAGE
            ids, scores = page[::2], page[1::2]
            packed = await self._wire.call("HMGET", f"{self._prefix}held", *ids)
            places = await self._places(ids)
            for id, score, scheduled, place in zip(ids, scores, packed, places, strict=True):
                if scheduled is None:
                    continue
                lane, meta, sealed = _unpack_scheduled(scheduled)
                state = Status.RETRYING if place == b"due|R" else Status.SCHEDULED
                if status in (None, state) and (queue is None or queue_of(lane) == queue) and len(found) < limit:
                    found.append(JobInfo(text(id), state, lane, meta, due_at=float(score), sealed=sealed))
        return found

    async def _places(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """The place of each id in the index; None: the id is not in it."""
        buckets: dict[bytes, list[bytes]] = {}
        for id in ids:
            buckets.setdefault(in_index(id)[0], []).append(id)
        places: dict[bytes, bytes | None] = {}
        for bucket, known in buckets.items():
            key = f"{self._prefix}index:".encode() + bucket
            found = await self._wire.call("HMGET", key, *(in_index(id)[1] for id in known))
            places.update(zip(known, found, strict=True))
        return [places[id] for id in ids]

    async def job(self, id: str) -> JobInfo | None:
        # One script, since the job could move between two calls, and neither would find it.
        reply = await self._wire.run(script("job"), self._prefix, id)
        if not reply:
            # A job that waits for others is in its graph alone; it may have become ready just now.
            waiting = await self.waiting_job(id)
            reply = [] if waiting is not None else await self._wire.run(script("job"), self._prefix, id)
            if not reply:
                return waiting
        if reply[0] == b"DONE":
            return JobInfo(id, _status(reply[1]), "stored outcome", outcome=reply[1])
        if reply[0] == b"DUE":
            target, meta, sealed = _unpack_scheduled(reply[3])
            state = Status.RETRYING if reply[1] == b"due|R" else Status.SCHEDULED
            return JobInfo(id, state, target, meta, due_at=float(reply[2]) if reply[2] else None, sealed=sealed)
        _, lane, entry, consumer, sealed, meta, ahead = reply
        claimed = {entry: text(consumer)} if consumer else {}
        info = _info(text(lane), entry, [b"j", sealed, b"m", meta], claimed)
        return msgspec.structs.replace(info, ahead=ahead if isinstance(ahead, int) else None)

    async def dead(self, *, limit: int = 50, offset: int = 0) -> list[DeadLetter]:
        page = await self._wire.call("ZREVRANGE", f"{self._prefix}dead", offset, offset + limit - 1, "WITHSCORES")
        letters = []
        for start in range(0, len(page), 100):
            ids, scores = page[start : start + 100 : 2], page[start + 1 : start + 100 : 2]
            kept = await self._wire.call("HMGET", f"{self._prefix}dead:jobs", *ids)
            letters += [
                _letter(text(id), score, packed)
                for id, score, packed in zip(ids, scores, kept, strict=True)
                if packed is not None
            ]
        return letters

    async def dead_letter(self, id: str) -> DeadLetter | None:
        packed = await self._wire.call("HGET", f"{self._prefix}dead:jobs", id)
        score = await self._wire.call("ZSCORE", f"{self._prefix}dead", id)
        return _letter(id, score or b"0", packed) if packed is not None else None

    async def rejected(self) -> int:
        return whole(await self._wire.call("HGET", f"{self._prefix}counts", "rejected") or b"0")

    async def unrecorded(self) -> int:
        return await unrecorded(self._wire, self._prefix)


def _letter(id: str, at: bytes, packed: bytes) -> DeadLetter:
    # A shorter value was not written by aiotask.
    (size,) = struct.unpack_from(">I", packed) if len(packed) > 3 else (0,)
    return DeadLetter(id, float(at), packed[4 : 4 + size], packed[4 + size :])


def _info(lane: str, entry: bytes, fields: list[bytes], claimed: dict[bytes, str]) -> JobInfo:
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    worker = claimed.get(entry, "")
    state = Status.RUNNING if worker else Status.PARKED if is_parked(lane) else Status.PENDING
    return JobInfo(
        id_of(values.get(b"j", b"")),
        state,
        f"{lane}|{entry.decode()}",
        decode_meta(values.get(b"m", b"")),
        worker=worker,
        sealed=values.get(b"j"),
        need=need_of(lane) if state is Status.PARKED else "",
    )


def _status(sealed: bytes) -> Status:
    """The status inside a stored outcome whose seal is not checked."""
    try:
        return decode_outcome(sealed[OVERHEAD:]).status
    except SealError:
        return Status.FAILED


def _unpack_scheduled(packed: bytes) -> tuple[str, Meta, bytes]:
    """Target lane, meta and envelope of a scheduled job, from its value in ``held``."""
    size = int.from_bytes(packed[:2])
    lane = text(packed[2 : 2 + size])
    meta = int.from_bytes(packed[2 + size : 4 + size])
    at = 4 + size
    return lane, decode_meta(packed[at : at + meta]), packed[at + meta :]
