"""Dead letters of one or more apps: reading them, and replaying or deleting them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..broker import Replayed
from ..brokers.pages import unknown_place
from ..errors import ResultExpired
from ..inspector import LetterFacts, LetterPlace
from .connection import Connection, Place, inspectors
from .describe import describe_letter
from .jobs import address_of, columns_of
from .paging import merged

__all__ = [
    "GROUPED",
    "OWN_ERRORS",
    "Done",
    "Filter",
    "Picked",
    "Verb",
    "by_error",
    "move_ids",
    "move_picked",
    "pick",
    "read_letter",
    "read_page",
]

Verb = Literal["replay", "delete"]
#: The ids of letters in one app.
Picked = tuple[Connection, list[str]]

#: Facts of letters read per call, and letters moved per call.
_PAGE, _BATCH = 500, 50
#: Letters that are grouped by their errors: the newest ones; and seconds within which a job was given up lately.
GROUPED, _LATELY = 5_000, 3_600.0
#: In front of the names of errors that aiotask makes.
OWN_ERRORS = "aiotask.errors."
#: An id behind which no other id comes.
_HIGHEST = "\U0010ffff"


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

    def fits(self, letter: LetterFacts) -> bool:
        return (
            self.task in (None, letter.task)
            and self.queue in (None, letter.queue)
            and (self.error is None or self.error.casefold() in letter.error.casefold())
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
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


async def by_error(connection: Connection) -> list[dict[str, Any]]:
    """The newest dead letters by error and task: the most frequent first; ``lately``: those of the last hour."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    now = time.time()
    for each in await connection.inspector.letters(None, GROUPED):
        error, _, message = (each.error or "?").removeprefix(OWN_ERRORS).partition(": ")
        first = {
            "error": error,
            "task": each.task or "?",
            "message": message,
            "number": 0,
            "lately": 0,
            "latest": each.at,
            "line": (),
        }
        group = groups.setdefault((error, each.task), first)
        group["number"] += 1
        group["lately"] += each.at > now - _LATELY
    return sorted(groups.values(), key=lambda group: (-group["number"], -group["latest"]))


async def read_page(place: Place, wanted: Filter, after: str, limit: int) -> list[dict[str, Any]]:
    """Letters of the named app or of all apps, the latest first.

    Args:
        after: where the page begins, as the last letter of the page before said; empty: at the latest one.

    Returns:
        The letters; if there may be others, the last one says in ``after`` where the next page begins.

    Raises:
        ConfigError: ``after`` was given by no page.
    """
    found: list[tuple[Connection, LetterFacts]] = []
    is_last = True
    async with inspectors(place) as opened:
        streams = [_fitting(each, wanted, _start(each, after)) for each in opened]
        async for which, facts in merged(streams, lambda item: -item[1].at):
            if len(found) >= limit:
                is_last = False
                break
            found.append((which, facts))
        page = [described for each in found if (described := await _described(*each)) is not None]
    if page and not is_last:
        which, facts = found[-1]
        page[-1]["after"] = f"{facts.at!r}:{address_of(which)}:{facts.id}"
    return page


def _start(connection: Connection, after: str) -> LetterPlace | None:
    """The place in the list of one app behind a place in the list of all: letters of the same moment are listed app by
    app."""
    if not after:
        return None
    at, _, rest = after.partition(":")
    which, _, id = rest.partition(":")
    try:
        score = float(at)
    except ValueError:
        raise unknown_place(after) from None
    if not id or not math.isfinite(score):
        raise unknown_place(after)
    own = address_of(connection)
    return score, id if own == which else "" if own < which else _HIGHEST


async def _described(connection: Connection, facts: LetterFacts) -> dict[str, Any] | None:
    """The letter whole; None: it is gone."""
    letter = await connection.inspector.dead_letter(facts.id)
    return None if letter is None else describe_letter(connection, letter)


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
        async for _, facts in _fitting(each, wanted):
            if verb == "replay" and facts.graph:
                of_graphs[facts.id] = facts.graph
            else:
                ids.append(facts.id)
        picked.append((each, ids))
    return picked, of_graphs


async def _fitting(
    connection: Connection, wanted: Filter, after: LetterPlace | None = None
) -> AsyncIterator[tuple[Connection, LetterFacts]]:
    """Facts of letters of one app behind a place, the latest first."""
    while page := await connection.inspector.letters(after, _PAGE):
        for facts in page:
            if wanted.since is not None and facts.at < wanted.since:
                return
            if wanted.fits(facts):
                yield connection, facts
        if len(page) < _PAGE:
            return
        after = page[-1].at, page[-1].id


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
