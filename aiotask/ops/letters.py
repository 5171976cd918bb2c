"""Dead letters of one or more apps: reading them, and replaying or deleting them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..broker import Replayed
from ..errors import ResultExpired
from ..inspector import DeadLetter
from .connection import Connection, Place, inspectors
from .describe import describe_letter
from .jobs import columns_of
from .paging import merged, page_of_all

__all__ = ["Done", "Filter", "Picked", "Verb", "move_ids", "move_picked", "pick", "read_letter", "read_page"]

Verb = Literal["replay", "delete"]
#: The ids of letters in one app.
Picked = tuple[Connection, list[str]]

#: Letters read per call, and letters moved per call.
_PAGE, _BATCH = 200, 50


@dataclass(frozen=True)
class Filter:
    """The conditions that letters have to match; without any condition, all letters do."""

    task: str | None = None
    queue: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def is_open(self) -> bool:
        return self == Filter()

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
    #: Jobs of graphs, whose letters stay: they run again with their graph alone. The graph's id by theirs.
    of_graphs: dict[str, str] = field(default_factory=dict)
    #: Missing ids of which no job is known, either.
    unknown: list[str] = field(default_factory=list)
    #: How many were moved in each app.
    by_app: Counter[str] = field(default_factory=Counter)


# ---- reading


async def read_page(place: Place, wanted: Filter, limit: int, offset: int) -> list[dict[str, Any]]:
    """Letters of the named app or of all apps, the latest first."""
    found: list[dict[str, Any]] = []
    async with inspectors(place) as opened:
        if wanted.is_open:
            page = await page_of_all(opened, _read, lambda letter: -letter.at, limit, offset)
            return [describe_letter(connection, letter) for connection, letter in page]
        async for described in merged([_fitting(each, wanted) for each in opened], lambda letter: -letter["dead_at"]):
            found.append(described)
            if len(found) >= offset + limit:
                break
    return found[offset:]


async def _read(connection: Connection, limit: int, offset: int) -> list[DeadLetter]:
    """Letters of one app, whatever they are: the broker skips those before the page."""
    found: list[DeadLetter] = []
    while page := await connection.inspector.dead(limit=min(_PAGE, limit - len(found)), offset=offset + len(found)):
        found += page
        if len(found) >= limit:
            break
    return found


async def read_letter(id: str, place: Place) -> dict[str, Any]:
    """One letter.

    Raises:
        ResultExpired: no app has a letter with this id.
    """
    async with inspectors(place) as opened:
        for each in opened:
            found = await each.inspector.dead_letter(id)
            if found is not None:
                return describe_letter(each, found) | await columns_of(each, id)
    raise ResultExpired(
        f'There is no dead letter "{id}" (any more): it was replayed or deleted, or the job never became one. '
        f"See what is known about the job: aiotask jobs {id}"
    )


async def pick(verb: Verb, opened: list[Connection], wanted: Filter) -> tuple[list[Picked], dict[str, str]]:
    """The ids that match, for each app; of a replay, without jobs of graphs, which are by id in the second result."""
    picked: list[Picked] = []
    of_graphs: dict[str, str] = {}
    for each in opened:
        ids = []
        async for letter in _fitting(each, wanted):
            if verb == "replay" and "graph" in letter:
                of_graphs[letter["id"]] = letter["graph"]
            else:
                ids.append(letter["id"])
        picked.append((each, ids))
    return picked, of_graphs


async def _fitting(connection: Connection, wanted: Filter) -> AsyncIterator[dict[str, Any]]:
    """Letters of one app, the latest first."""
    offset = 0
    while page := await connection.inspector.dead(limit=_PAGE, offset=offset):
        for letter in page:
            if wanted.since is not None and letter.at < wanted.since:
                return
            described = describe_letter(connection, letter)
            if wanted.fits(described):
                yield described
        offset += len(page)


# ---- moving


async def move_ids(verb: Verb, opened: list[Connection], ids: list[str]) -> Done:
    """Replay or delete the letters with these ids, in whichever app each of them is."""
    done = Done()
    for connection in opened:
        # An id that one app has is not searched for in the next app.
        ids = await _move(verb, connection, ids, done)
    done.missing = ids
    done.unknown = [id for id in ids if not await _is_known(opened, id)]
    return done


async def move_picked(verb: Verb, picked: Sequence[Picked], progress: Callable[[int], None], done: Done) -> None:
    """Replay or delete picked letters; ``progress`` is called with the number of letters done so far, and ``done``
    says what has become of each, also where this is interrupted."""
    moved = 0
    for connection, found in picked:
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            done.missing += await _move(verb, connection, batch, done)
            moved += len(batch)
            progress(moved)


async def _move(verb: Verb, connection: Connection, ids: list[str], done: Done) -> list[str]:
    """Move letters of one app in batches; the ids that it does not have are returned."""
    missing: list[str] = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        move = connection.broker.replay if verb == "replay" else connection.broker.discard
        became = await move(batch)
        of_graphs = list[str]()
        lists = {
            Replayed.DONE: done.moved,
            Replayed.MISSING: missing,
            Replayed.OUTDATED: done.outdated,
            Replayed.GRAPH: of_graphs,
        }
        for id, what in zip(batch, became, strict=True):
            lists[what].append(id)
        done.by_app[connection.name] += became.count(Replayed.DONE)
        done.of_graphs |= await _graphs_of(connection, of_graphs)
    return missing


async def _graphs_of(connection: Connection, ids: list[str]) -> dict[str, str]:
    """The ids of the graphs of these letters, by their ids; a letter that cannot be read here has its own id, which
    leads to the graph too."""
    found: dict[str, str] = {}
    for id in ids:
        letter = await connection.inspector.dead_letter(id)
        found[id] = id if letter is None else describe_letter(connection, letter).get("graph", id)
    return found


async def _is_known(opened: list[Connection], id: str) -> bool:
    for each in opened:
        (state,) = await each.broker.status([id])
        if state.status is not None or state.outcome is not None:
            return True
    return False
