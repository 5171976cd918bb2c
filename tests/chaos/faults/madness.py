"""What an operator, another program or a full machine can do to a server's mind, each with the way back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from aiotask.errors import BrokerError, ConnectionLost, QueueFull

from ..arena import Arena

__all__ = ["PERMISSIONS", "USER", "Blow", "blows"]

#: Under this name the app is known to the server; its permissions are taken away and given back.
USER = "shop"
#: Those that the error message for a missing permission tells to give.
PERMISSIONS = ("~aiotask1:*", "&aiotask1:*", "+@all", "-@dangerous", "+info", "+client")

Act = Callable[[Arena], Any]


@dataclass(frozen=True)
class Blow:
    """One of them."""

    name: str
    strike: Act
    #: The way back; None: it is over at once.
    heal: Act | None = None
    #: What sends end with while it stands; None: they are accepted.
    refuses: type[BrokerError] | None = None
    #: What was unfinished may be gone for good.
    loses: bool = False
    #: The server has forgotten who runs what, so that may run once more meanwhile.
    repeats: bool = False
    #: Only a send of a delayed job uses what is spoiled.
    delayed: bool = False
    #: What was sent before is finished while it stands.
    drains: bool = False
    #: Words that the error of a send has to contain.
    says: Sequence[str] = field(default=())


def blows() -> list[Blow]:
    """All of them, milder ones first."""
    return [*_forgotten(), *_deleted(), *_wrong_types(), *_refusals(), *_permissions(), _flushed()]


# ---- over at once


def _forgotten() -> list[Blow]:
    return [
        Blow("SCRIPT FLUSH", lambda arena: arena.server.call("SCRIPT", "FLUSH")),
        Blow("XGROUP DESTROY", _destroy_groups, repeats=True),
    ]


def _destroy_groups(arena: Arena) -> None:
    for lane in arena.server.call("KEYS", f"{arena.prefix}q:*"):
        arena.server.call("XGROUP", "DESTROY", lane, "w")


def _deleted() -> list[Blow]:
    def blow(name: str, **marks: bool) -> Blow:
        def strike(arena: Arena) -> None:
            parts = arena.server.call("KEYS", f"{arena.prefix}{name}:*")
            arena.server.call("DEL", arena.prefix + name, *parts)
            if name == "history":
                arena.keep_history()

        return Blow(f"DEL {name}", strike, **marks)

    return [
        blow("q:default:5", loses=True),
        blow("q:default:r", loses=True),
        blow("queues"),
        blow("index"),
        blow("due", loses=True),
        blow("held", loses=True),
        blow("watch"),
        blow("counts"),
        blow("history"),
        blow("leases"),
        blow("live", repeats=True),
    ]


def _flushed() -> Blow:
    def strike(arena: Arena) -> None:
        arena.server.call("FLUSHALL")
        arena.keep_history()

    return Blow("FLUSHALL", strike, loses=True, repeats=True)


# ---- standing until somebody mends it


def _wrong_types() -> list[Blow]:
    def blow(name: str, **marks: Any) -> Blow:
        def strike(arena: Arena) -> None:
            arena.server.call("SET", arena.prefix + name, "not what it was")

        def heal(arena: Arena) -> None:
            arena.server.call("DEL", arena.prefix + name)
            if name == "history":
                arena.keep_history()

        return Blow(f"SET {name}", strike, heal, **marks)

    said = {"refuses": BrokerError, "says": ("string", "DEL")}
    return [
        # Nobody sends with this priority here: the other lanes go on.
        blow("q:default:7", drains=True),
        blow("q:default:5", loses=True, **said),
        blow("index", **said),
        blow("due", loses=True, delayed=True, **said),
        blow("queues", **said),
        blow("live", repeats=True),
        blow("leases"),
        blow("counts"),
        blow("history"),
    ]


def _refusals() -> list[Blow]:
    call = ConnectionLost
    return [
        Blow("maxmemory", _fill, _config("maxmemory", "0"), refuses=QueueFull, drains=True, says=("out of memory",)),
        Blow("MISCONF", _fail_to_save, _save_again, refuses=call, says=("MISCONF",)),
        Blow(
            "NOREPLICAS",
            _config("min-replicas-to-write", "1"),
            _config("min-replicas-to-write", "0"),
            refuses=call,
            says=("NOREPLICAS",),
        ),
        Blow(
            "READONLY",
            lambda arena: arena.server.call("REPLICAOF", "127.0.0.1", "1"),
            lambda arena: arena.server.call("REPLICAOF", "NO", "ONE"),
            refuses=call,
            says=("is a replica of",),
        ),
        Blow("BUSY", _compute, lambda arena: arena.server.call("SCRIPT", "KILL"), refuses=call, says=("BUSY",)),
    ]


def _config(name: str, value: str) -> Act:
    return lambda arena: arena.server.call("CONFIG", "SET", name, value)


def _fill(arena: Arena) -> None:
    used = arena.server.call("INFO", "memory")["used_memory"]
    arena.server.call("CONFIG", "SET", "maxmemory", used - 1)


def _fail_to_save(arena: Arena) -> None:
    """A snapshot cannot be written where a directory lies."""
    (arena.server.directory / "dump.rdb").unlink(missing_ok=True)
    (arena.server.directory / "dump.rdb" / "full").mkdir(parents=True)
    arena.server.call("CONFIG", "SET", "save", "3600 1")
    _save(arena, "err")


def _save_again(arena: Arena) -> None:
    (arena.server.directory / "dump.rdb" / "full").rmdir()
    (arena.server.directory / "dump.rdb").rmdir()
    _save(arena, "ok")
    arena.server.call("CONFIG", "SET", "save", "")


def _save(arena: Arena, result: str) -> None:
    arena.server.call("BGSAVE")
    while True:
        state = arena.server.call("INFO", "persistence")
        if not state["rdb_bgsave_in_progress"]:
            assert state["rdb_last_bgsave_status"] == result, state
            return


def _compute(arena: Arena) -> None:
    """A script of somebody else's that does not end; after a while the server answers BUSY to all others."""
    arena.server.call("CONFIG", "SET", "lua-time-limit", 50)
    path = str(arena.server.socket)

    def run() -> None:
        with redis.Redis(unix_socket_path=path) as client:
            try:
                client.eval("while true do end", 0)  # type: ignore[no-untyped-call]
            except redis.ResponseError:
                return

    threading.Thread(target=run, name="busy script", daemon=True).start()


# ---- permissions


def _permissions() -> list[Blow]:
    def take(*rules: str) -> Act:
        return lambda arena: arena.server.call("ACL", "SETUSER", USER, *rules)

    def give_back(arena: Arena) -> None:
        arena.server.call("ACL", "SETUSER", USER, "on", "nopass", *PERMISSIONS)

    return [
        Blow("ACL -@all", take("-@all"), give_back, refuses=BrokerError, says=("permission", "ACL SETUSER")),
        Blow("ACL -xadd", take("-xadd"), give_back, refuses=BrokerError, says=("ACL SETUSER",), drains=True),
        Blow("ACL resetkeys", take("resetkeys"), give_back, refuses=BrokerError, says=("ACL SETUSER",)),
        Blow("ACL resetchannels", take("resetchannels"), give_back),
        Blow(
            "ACL DELUSER",
            lambda arena: arena.server.call("ACL", "DELUSER", USER),
            give_back,
            refuses=BrokerError,
            says=("user or password",),
        ),
    ]
