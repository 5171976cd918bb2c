"""The checks of ``aiotask doctor``: of the server, of each app on it, and of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ..brokers import namespaces
from ..brokers.shown import NO_ANSWER
from ..embedded.server import state_directory
from ..errors import AiotaskError, BrokerError, ConfigError, ConnectionLost
from ..inspector import ServerFacts
from .app_checks import about_app
from .check import Check, State
from .connection import Connection, Place, inspectors, is_idle
from .database_checks import about_database
from .durability import lost, row_of
from .sizes import in_bytes

__all__ = ["Check", "State", "check_all"]

#: Seconds that the server gets to answer all checks.
ANSWER_TIMEOUT = 10.0
OLDEST_REDIS = (6, 2)


async def check_all(place: Place, result_db: str | None, nearby: Callable[[], list[str]]) -> list[Check]:
    """Every check, in the order in which an operator would go through them.

    Args:
        nearby: the process ids of the supervisors on this machine; called if the embedded server does not run.
    """
    of_server = await _server_checks(place, nearby) if place.has_broker else []
    of_database = await about_database(place.database, place.name) if place.database else []
    # Rows are their own history.
    of_machine = [*_state_directory(), *_result_db(result_db, embedded=place.has_broker and not place.url)]
    return [*of_server, *of_database, *of_machine]


def _orphans(pids: list[str]) -> list[Check]:
    """Workers of this machine that live although the embedded server is gone."""
    if not pids:
        return []
    found = ", ".join(pids)
    fix = "Start the server again (aiotask server start): the workers then reconnect by themselves."
    return [Check("workers", State.WARN, f"workers run on this machine, but their server does not: pid {found}", fix)]


# ---- the server


async def _server_checks(place: Place, nearby: Callable[[], list[str]]) -> list[Check]:
    """The checks that ask the server, or the one check that it cannot be reached."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            place = replace(place, database=None)
            return await _misfit(place) or await _about_all(place)
    except ConfigError as error:
        # With a URL it is that which is wrong: nothing is known of the server of the workers.
        return [Check("settings", State.FAIL, str(error)), *_orphans([] if place.url else nearby())]
    except TimeoutError:
        return [
            Check("server", State.FAIL, f"It did not answer in {ANSWER_TIMEOUT:.0f} s.", "Is it overloaded or stopped?")
        ]
    except AiotaskError as error:
        return [_unreachable(error)]


def _unreachable(error: AiotaskError) -> Check:
    """The check of a server that does not answer, does not let this user in, or is no server for jobs."""
    text = str(error)
    if text.endswith(NO_ANSWER):
        fix = "Is it running, and is --url (AIOTASK_URL) right?"
        return Check("server", State.FAIL, text.removesuffix(NO_ANSWER).rstrip(), fix)
    # Any other error says itself what to do, except that a server may not be ready yet.
    fix = "Wait until it is, or look into its log." if isinstance(error, ConnectionLost) else ""
    return Check("server", State.FAIL, text, fix)


async def _misfit(place: Place) -> list[Check]:
    """A failed check for a server that cannot keep the jobs of the app, or of an app that it has; empty: it can."""
    checks = await _misfit_of(replace(place, name=place.name or "default"))
    if checks and not place.name and place.url:
        # A node of a cluster has some apps only. A Sentinel cannot list any.
        with contextlib.suppress(BrokerError):
            if found := await namespaces(place.url):
                return await _misfit_of(replace(place, name=min(found)))
    return checks


async def _misfit_of(place: Place) -> list[Check]:
    """A failed check for a server that cannot keep the jobs of an app; empty: it can."""
    async with inspectors(place) as (connection,):
        facts = await connection.inspector.facts()
        if not facts.unfit:
            return []
        return [await _reachable(connection), Check("role", State.FAIL, f"it {facts.unfit}", facts.remedy)]


async def _about_all(place: Place) -> list[Check]:
    """Checks of the server and of the apps on it."""
    async with inspectors(place, fallback="default") as opened:
        first = opened[0]
        checks = [await _reachable(first)]
        facts = await first.inspector.facts()
        checks += [*_about_server(facts), _secret(first)]
        idle = []
        for each in opened:
            if place.name is None and len(opened) > 1 and await is_idle(each):
                idle.append(each.name)
            else:
                checks += await about_app(each)
        if idle:
            shown = ", ".join(idle[:5]) + (", …" if len(idle) > 5 else "")
            checks.append(Check("idle apps", State.OK, f"without workers and jobs: {shown}"))
        return checks


async def _reachable(connection: Connection) -> Check:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        await connection.inspector.facts()
        times.append(time.perf_counter() - started)
    trip = sorted(times)[len(times) // 2] * 1000
    slow = trip > 50
    return Check(
        "server",
        State.WARN if slow else State.OK,
        f"{connection.address} answers in {trip:.1f} ms",
        "Every job waits for such round trips: bring the workers and the server closer together." if slow else "",
    )


def _about_server(facts: ServerFacts) -> Iterator[Check]:
    yield _version(facts)
    yield _eviction(facts)
    yield _durability(facts)
    apart = abs(facts.time - time.time()) if facts.time else 0.0
    yield Check(
        "clock",
        State.WARN if apart > 1 else State.OK,
        f"{apart:.2f} s away from the clock of this machine",
        "Due times follow the server's clock: synchronize both clocks (chrony, systemd-timesyncd)."
        if apart > 1
        else "",
    )
    yield _memory(facts)
    for warning in facts.warnings:
        # Durability and eviction are checks of their own.
        if "appendonly" not in warning and "maxmemory-policy" not in warning:
            yield Check("server says", State.WARN, warning)


def _version(facts: ServerFacts) -> Check:
    shown = f"{facts.kind} {facts.version}"
    parts = facts.version.split(".")[:2]
    known = tuple(int(part) for part in parts if part.isdigit())
    if facts.kind == "redis" and known < OLDEST_REDIS:
        return Check("version", State.FAIL, shown, "aiotask needs Redis 6.2 or newer, or Valkey.")
    return Check("version", State.OK, shown)


def _eviction(facts: ServerFacts) -> Check:
    if not facts.evicts:
        return Check("eviction", State.OK, "noeviction: a full server refuses new jobs and drops none")
    return Check(
        "eviction",
        State.FAIL if facts.memory_limit else State.WARN,
        f"maxmemory-policy is {facts.evicts}: a full server would evict jobs",
        "Run CONFIG SET maxmemory-policy noeviction, and set it in the configuration file of the server, too.",
    )


def _durability(facts: ServerFacts) -> Check:
    row = row_of(facts)
    # The remedies are settings of these two; another broker has its own, or none.
    fix = row.fix if facts.kind in ("redis", "valkey") else ""
    return Check("durability", State.WARN if row.fix else State.OK, f"{facts.durability.words}: {lost(facts)}", fix)


def _memory(facts: ServerFacts) -> Check:
    limit = f"of {in_bytes(facts.memory_limit)}" if facts.memory_limit else "and no limit (maxmemory)"
    text = f"{in_bytes(facts.memory_used)} used {limit}; outcomes kept until their TTL: {facts.expiring:,}"
    if facts.memory_limit and facts.memory_used >= facts.memory_limit and not facts.evicts:
        fix = "The server is full and refuses new jobs. Raise maxmemory; then shorten result_ttl, or use ignore_result."
        return Check("memory", State.FAIL, text, fix)
    if facts.memory_limit and facts.memory_used > 0.8 * facts.memory_limit:
        fix = "When the server is full, it rejects new jobs. Shorten result_ttl, use ignore_result, or raise maxmemory."
        return Check("memory", State.WARN, text, fix)
    return Check("memory", State.OK, text)


def _secret(connection: Connection) -> Check:
    """Whether messages are sealed; without a secret the app itself refuses a server that other machines can reach."""
    if any(connection.secrets):
        return Check("secret", State.OK, "messages are sealed with a secret")
    return Check("secret", State.OK, "none, and none is needed: the server runs on this machine")


# ---- this machine


def _state_directory() -> list[Check]:
    try:
        directory = Path(state_directory())
        found = directory.stat()
    except ConfigError as error:
        # A user without a home directory who works with a server of their own needs no state directory.
        return [Check("state directory", State.OK, f"none: {error}")]
    except FileNotFoundError:
        return []
    if found.st_uid != os.geteuid():
        fix = "Set AIOTASK_HOME to a directory that belongs to you."
        return [Check("state directory", State.FAIL, f"{directory} belongs to user {found.st_uid}", fix)]
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        fix = f"chmod 700 {directory}"
        return [Check("state directory", State.FAIL, f"{directory} is open to other users (mode {mode:o})", fix)]
    return [Check("state directory", State.OK, f"{directory} is private to this user")]


def _result_db(path: str | None, *, embedded: bool) -> list[Check]:
    """Whether the history file can be read: it exists, it is SQLite, and it is not locked all the time."""
    if path is None and embedded:
        with contextlib.suppress(ConfigError):
            usual = state_directory() / "results.db"
            path = str(usual) if usual.exists() else None
    if path is None:
        return []
    if not Path(path).exists():
        fix = "The first worker with --result-db creates it."
        return [Check("result db", State.WARN, f"{path} does not exist yet", fix)]
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
        try:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        fix = "Check its permissions. A damaged file can be moved away: the queue does not need it."
        return [Check("result db", State.FAIL, f"{path} cannot be read: {error}", fix)]
    return [Check("result db", State.OK, f"{path} is readable ({tables} tables and indexes)")]
