"""Dead letters of one or more apps: which are meant, and moving them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .asking import confirm, progress
from .described import described_letter

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Done", "Filter", "act", "one", "page"]

#: Letters that are read at a time, and that are moved at a time.
_PAGE, _BATCH = 200, 50


@dataclass(frozen=True)
class Filter:
    """Which letters are meant; nothing given means all."""

    task: str | None
    queue: str | None
    error: str | None
    since: float | None
    until: float | None

    @property
    def is_open(self) -> bool:
        return self == Filter(None, None, None, None, None)

    def fits(self, letter: dict[str, Any]) -> bool:
        return (
            (self.task is None or letter.get("task") == self.task)
            and (self.queue is None or letter.get("queue") == self.queue)
            and (self.error is None or self.error.casefold() in str(letter.get("error", "")).casefold())
            and (self.since is None or letter["dead_at"] >= self.since)
            and (self.until is None or letter["dead_at"] < self.until)
        )


@dataclass
class Done:
    """What became of each id."""

    moved: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    #: Of those that are missing: no job of that id is known at all.
    unknown: list[str] = field(default_factory=list)


# ---- reading


async def _fitting(connection: Connection, wanted: Filter) -> AsyncIterator[dict[str, Any]]:
    """Letters of one app, the last one first."""
    offset = 0
    while page := await connection.inspector.dead(limit=_PAGE, offset=offset):
        for letter in page:
            if wanted.since is not None and letter.at < wanted.since:
                return
            described = described_letter(connection, letter)
            if wanted.fits(described):
                yield described
        offset += len(page)


async def page(name: str | None, url: str | None, wanted: Filter, limit: int, offset: int) -> list[dict[str, Any]]:
    from .connection import inspectors

    found: list[dict[str, Any]] = []
    async with inspectors(name, url) as opened:
        for each in opened:
            async for letter in _fitting(each, wanted):
                found.append(letter)
                if len(found) >= offset + limit:
                    return found[offset:]
    return found[offset:]


async def one(id: str, name: str | None, url: str | None) -> dict[str, Any]:
    from aiotask.errors import ResultExpired

    from .connection import inspectors

    async with inspectors(name, url) as opened:
        for each in opened:
            letter = await each.inspector.dead_letter(id)
            if letter is not None:
                return described_letter(each, letter)
    raise ResultExpired(
        f'There is no dead letter "{id}" (any more): it was replayed or deleted, or the job never became one. '
        f"See what is known about the job: aiotask jobs {id}"
    )


# ---- moving


def act(
    verb: str,
    ids: Sequence[str],
    wanted: Filter,
    everything: bool,
    yes: bool,
    name: str | None,
    url: str | None,
) -> Done:
    """Do it to the jobs with these ids, or, once the user has confirmed it, to those that match the filter."""
    import asyncio

    from aiotask.errors import ConfigError

    given = bool(ids) + everything + (not wanted.is_open and not everything)
    if given != 1:
        which = "IDs cannot be combined with --all or filters" if given else "no jobs were named"
        raise ConfigError(
            f"Nothing was done: {which}. Give IDs (aiotask dead {verb} ID), filters (--task, --queue, --error, "
            "--since, --until), or --all."
        )
    return asyncio.run(_moved(verb, list(dict.fromkeys(ids)), wanted, everything, yes, name, url))


async def _moved(
    verb: str, ids: list[str], wanted: Filter, everything: bool, yes: bool, name: str | None, url: str | None
) -> Done:
    from aiotask.errors import ConfigError

    from .connection import inspectors

    done = Done()
    async with inspectors(name, url) as opened:
        if ids:
            for connection in opened:
                # What one app has is not asked of the next.
                ids = await _move(verb, connection, ids, done)
            done.missing = ids
            done.unknown = [id for id in ids if not await _is_known(opened, id)]
            return done
        if everything and name is None and len(opened) > 1:
            raise ConfigError(
                f"Nothing was done: several apps are on this server ({', '.join(each.app.name for each in opened)}), "
                f"and --all would {verb} the dead letters of each. Name one app: aiotask dead {verb} --all --name NAME"
            )
        picked = [(each, [letter["id"] async for letter in _fitting(each, wanted)]) for each in opened]
        number = sum(len(found) for _, found in picked)
        if number and not yes:
            confirm(verb, f"{number:,} dead letter{'s' if number > 1 else ''}", "aiotask dead list")
        with progress(f"{verb.capitalize()} dead letters", number) as show:
            moved = 0
            for connection, found in picked:
                for start in range(0, len(found), _BATCH):
                    done.missing += await _move(verb, connection, found[start : start + _BATCH], done)
                    moved += len(found[start : start + _BATCH])
                    show(moved)
    return done


async def _move(verb: str, connection: Connection, ids: list[str], done: Done) -> list[str]:
    """In batches; the ids that are not there."""
    from aiotask.broker import Replayed

    missing: list[str] = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        if verb == "replay":
            became = await connection.broker.replay(batch)
        else:
            were_there = await connection.broker.discard(batch)
            became = [Replayed.DONE if was else Replayed.MISSING for was in were_there]
        lists = {Replayed.DONE: done.moved, Replayed.MISSING: missing, Replayed.OUTDATED: done.outdated}
        for id, what in zip(batch, became, strict=True):
            lists[what].append(id)
    return missing


async def _is_known(opened: list[Connection], id: str) -> bool:
    for each in opened:
        (state,) = await each.broker.status([id])
        if state.status is not None or state.outcome is not None:
            return True
    return False
