"""Recognizes Sentinels, replicas and nodes of a cluster, on which some or all jobs cannot be kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ...errors import BrokerError

__all__ = ["Misfit", "cluster_warning", "find_misfit", "may_be_misfit", "name_misfit", "parse_info"]

#: Sends a command to the server and returns the reply.
Ask = Callable[..., Awaitable[Any]]

#: Texts in the errors of replicas, of nodes of a cluster, and of Sentinels, which know few commands.
_SIGNS = ("read only replica", "READONLY", "MOVED", "slot not served", "unknown command")
_SLOTS = 16_384


class Misfit(NamedTuple):
    """Why jobs cannot be kept on a server, as the rest of a sentence that begins with the server, and the remedy."""

    fault: str
    remedy: str


def may_be_misfit(error: BrokerError) -> bool:
    """Whether an error gives reason to ask the server what it is."""
    text = str(error)
    return any(sign in text for sign in _SIGNS)


async def name_misfit(ask: Ask, prefix: str) -> str:
    """Why the jobs of an app cannot be kept on this server, and what to do, as ``is a …``; empty: they can be kept."""
    with suppress(BrokerError, LookupError, ValueError):
        if misfit := await find_misfit(parse_info(await ask("INFO")), ask, prefix):
            return f"{misfit.fault}. {misfit.remedy}"
    return ""


def parse_info(reply: bytes) -> dict[str, str]:
    """The fields of INFO."""
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {key: value for key, _, value in lines}


async def find_misfit(info: Mapping[str, str], ask: Ask, prefix: str) -> Misfit | None:
    """Why the jobs of an app cannot be kept on this server; None if they can.

    Args:
        info: the fields of INFO.
        prefix: of the app's keys; empty: no app is meant.
    """
    # ROLE would say the same, but it is not among the commands that a restricted user needs.
    if _is_sentinel(info):
        return _sentinel(await _masters(ask))
    if info.get("cluster_enabled") == "1":
        # A user who may not run CLUSTER gets no answer here; the server refuses the keys of other nodes anyway.
        with suppress(BrokerError):
            return await _other_node(ask, prefix) if prefix else None
    elif info.get("role") == "slave":
        return _replica(info)
    return None


async def cluster_warning(info: Mapping[str, str], ask: Ask) -> str:
    """A sentence about what does not work where a node of a cluster keeps the jobs of this app; else empty."""
    if info.get("cluster_enabled") != "1":
        return ""
    served = 0
    with suppress(BrokerError):
        mine = await ask("CLUSTER", "MYID")
        served = sum(last - first + 1 for first, last, owner, *_ in await ask("CLUSTER", "SLOTS") if owner[2] == mine)
    if served == _SLOTS:
        return (
            "The server runs in cluster mode and serves all slots, so it works like a server without cluster mode "
            "until slots are moved to another node: aiotask does not follow them there."
        )
    return (
        "The server is one node of a cluster. All keys of an app are on one node, today on this one; after resharding "
        "or a failover aiotask does not follow them to another node. Use a server without cluster mode."
    )


# ---- each kind


def _is_sentinel(info: Mapping[str, str]) -> bool:
    # Valkey names the field differently.
    return "sentinel" in (info.get("redis_mode"), info.get("server_mode"))


def _sentinel(masters: list[tuple[str, str]]) -> Misfit:
    fault = "is a Sentinel, which keeps no jobs"
    if not masters:
        return Misfit(fault, "Use the address of the master in --url or AIOTASK_URL.")
    watched = ", ".join(f'"{name}" at {address}' for name, address in masters)
    return Misfit(
        f"{fault}; it watches the master{'s' if len(masters) > 1 else ''} {watched}",
        "Use the address of the master in --url or AIOTASK_URL. aiotask does not ask Sentinels: after a failover it "
        "needs the new address, or one that always leads to the master.",
    )


def _replica(info: Mapping[str, str]) -> Misfit:
    master = _address(info.get("master_host", "?"), info.get("master_port", "?"))
    if info.get("slave_read_only") == "0":
        fault = f"is a replica of {master}: jobs that are written to it are lost when it synchronizes with its master"
    else:
        fault = f"is a replica of {master}: jobs cannot be written to it"
    return Misfit(fault, "Use the address of the master in --url or AIOTASK_URL.")


async def _other_node(ask: Ask, prefix: str) -> Misfit | None:
    """The node that serves the slot of the app's keys, if that is another node or there is none."""
    slot, mine = await ask("CLUSTER", "KEYSLOT", prefix), await ask("CLUSTER", "MYID")
    app = prefix.partition("{")[2].rpartition("}")[0]
    owner = next((row[2] for row in await ask("CLUSTER", "SLOTS") if row[0] <= slot <= row[1]), None)
    if owner is None:
        return Misfit(
            f'is a node of a cluster in which no node serves slot {slot}, where the keys of app "{app}" belong',
            "Assign the slot to a node (redis-cli --cluster fix), or use a server without cluster mode.",
        )
    if owner[2] == mine:
        return None
    address = _address(owner[0].decode("utf-8", "replace"), owner[1])
    return Misfit(
        f'is a node of a cluster, and the keys of app "{app}" (slot {slot}) belong to the node {address}',
        "Use a server without cluster mode, or the address of that node in --url or AIOTASK_URL. aiotask does not "
        "follow redirects: the address is wrong again when the slot moves to another node.",
    )


async def _masters(ask: Ask) -> list[tuple[str, str]]:
    """Names and addresses of the first masters that a Sentinel watches; none where this user may not ask it."""
    found = []
    with suppress(BrokerError):
        for flat in (await ask("SENTINEL", "MASTERS"))[:3]:
            row = dict(zip(flat[::2], flat[1::2], strict=True))
            name, host, port = (row[key].decode("utf-8", "replace") for key in (b"name", b"ip", b"port"))
            found.append((name, _address(host, port)))
    return found


def _address(host: str, port: object) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
