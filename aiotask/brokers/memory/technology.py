"""The memory broker as a technology. Its modules are loaded at first use: most processes have no use for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..technology import (
    AUDIT,
    DUE_NOW,
    EXPIRY,
    GRAPHS,
    HIDES,
    HISTORY,
    LIMITS,
    METRICS,
    MOVE,
    PAUSES,
    SCHEDULES,
    STREAMS,
    UNIQUE,
    Technology,
)

if TYPE_CHECKING:
    from ...broker import Broker
    from ...inspector import Inspector
    from ..technology import PushBlocking, PushGraphBlocking

__all__ = ["MEMORY"]


def _connect(url: str, app: str) -> Broker:
    from .broker import MemoryBroker

    return MemoryBroker(url, app)


def _inspect(broker: Broker) -> Inspector:
    from .broker import MemoryBroker

    assert isinstance(broker, MemoryBroker)
    return broker


async def _namespaces(url: str) -> list[str]:
    from .stores import apps_at

    return apps_at(url)


def _push_blocking(url: str) -> PushBlocking:
    from .broker import push_now

    return push_now


def _push_graph_blocking(url: str) -> PushGraphBlocking:
    from .graph_verbs import push_graph_now

    return push_graph_now


MEMORY = Technology(
    connect=_connect,
    inspect=_inspect,
    namespaces=_namespaces,
    push_blocking=_push_blocking,
    check_url=lambda parts: "",
    is_private=lambda url: True,
    features=frozenset(
        {AUDIT, DUE_NOW, EXPIRY, GRAPHS, HIDES, HISTORY, LIMITS, METRICS, MOVE, PAUSES, SCHEDULES, STREAMS, UNIQUE}
    ),
    examples=("memory://",),
    push_graph_blocking=_push_graph_blocking,
)
