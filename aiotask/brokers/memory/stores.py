"""Every store of this process: one per URL and app, and none in a forked child."""

from __future__ import annotations

import os
import threading
import time

from .clock import Clock
from .graphs import GraphStore

__all__ = ["apps_at", "store_of"]

_stores: dict[tuple[str, str], GraphStore] = {}


def store_of(url: str, app: str, clock: Clock = time) -> GraphStore:
    """The one store that this URL and app have in this process.

    Args:
        clock: of the store, if this call makes it.
    """
    store = _stores.get((url, app))
    # Without a lock, since a finalizer may send in the middle of it.
    return store if store is not None else _stores.setdefault((url, app), GraphStore(url, clock))


def apps_at(url: str) -> list[str]:
    """Names of the apps that have jobs, results or workers at this URL in this process."""
    return sorted(
        app for (where, app), store in _stores.copy().items() if where == url and (store.queues or store.live)
    )


def _disown() -> None:
    """In a forked child: what was copied belongs to the parent, and its locks may be held for ever."""
    for store in _stores.values():
        store.lock = threading.RLock()
        store.is_foreign = True


os.register_at_fork(after_in_child=_disown)
