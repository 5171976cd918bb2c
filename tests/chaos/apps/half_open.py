"""The usual tasks, on hosts whose keeper may reach the server under another address than its workers.

``CHAOS_KEEPER_URL`` is that address: the first worker that has booted tells it the supervisor.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from aiotask import App
from aiotask.daemon import served_units
from aiotask.daemon.app_facts import AppFacts, app_facts
from aiotask.daemon.settings import WorkerSettings

from ..app import app, nap, noop, sync_nap, sync_noop

__all__ = ["app", "nap", "noop", "sync_nap", "sync_noop"]


def _with_address(app: App, settings: WorkerSettings) -> AppFacts:
    facts = app_facts(app, settings)
    return replace(facts, address=os.environ.get("CHAOS_KEEPER_URL") or facts.address)


served_units.app_facts = _with_address
