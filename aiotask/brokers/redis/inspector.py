"""The read side on Redis: counts, lists and single jobs, each bounded; nothing is ever unpickled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import BrokerError
from ...inspector import Durability, JobInfo, Persistence, QueueInfo, ServerFacts, WorkerInfo
from ...values.unique import is_same_key, is_unique
from ..lanes import claim_order
from .broker import RedisBroker
from .codec import text, whole
from .history import unrecorded
from .kept import job_in_lane, scheduled_job, status_in
from .keys import GROUP
from .kids import KidsView
from .letters import LetterPages
from .limits import LimitsView
from .metrics import MetricsView
from .pages import JobPages
from .sample import QueueSample
from .script import script
from .shares import with_shares
from .topology import cluster_warning, find_misfit, parse_info

__all__ = ["RedisInspector"]

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


def _pairs(flat: list[Any]) -> dict[str, Any]:
    return {text(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


class RedisInspector(JobPages, KidsView, LetterPages, LimitsView, MetricsView, QueueSample):
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

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        return await with_shares(self, await self.stats(max_age))

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

    async def _followed(self, id: str) -> JobInfo | None:
        """The job that a unique one is."""
        same = (await self._broker.status([id]))[0].same if is_unique(id) else ""
        return await self.job(same) if is_same_key(id, same) else None

    async def job(self, id: str) -> JobInfo | None:
        # One script, since the job could move between two calls, and neither would find it.
        reply = await self._wire.run(script("job"), self._prefix, id)
        if not reply:
            # A job that waits for others is in its graph alone; it may have become ready just now.
            waiting = await self.waiting_job(id)
            reply = [] if waiting is not None else await self._wire.run(script("job"), self._prefix, id)
            if not reply:
                return waiting or await self._followed(id)
        if reply[0] == b"DONE":
            return JobInfo(id, status_in(reply[1]), "stored outcome", outcome=reply[1])
        if reply[0] == b"DUE":
            _, place, due_at, kept = reply
            return scheduled_job(id, place, due_at, kept)
        _, lane, entry, consumer, sealed, meta, ahead = reply
        info = job_in_lane(text(lane), entry, text(consumer), sealed, meta)
        return msgspec.structs.replace(info, ahead=ahead if isinstance(ahead, int) else None)

    async def rejected(self) -> int:
        return whole(await self._wire.call("HGET", f"{self._prefix}counts", "rejected") or b"0")

    async def unrecorded(self) -> int:
        return await unrecorded(self._wire, self._prefix)
