"""One look at an app: whose jobs, who looks, and what was asked for; the data of every view is read through it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from ...errors import AiotaskError, ConfigError
from ...inspector import Stats
from ...job import Status
from ..actions import Actions
from ..connection import Connection, Place
from ..connections import Connections
from ..refusals import Refusals
from ..visitors import ACTS, Verb, Visitor
from .fields import bounded

__all__ = ["ID", "MOST_ROWS", "ROWS", "TEXT", "Choices", "Look", "NotFound", "status_named"]

T = TypeVar("T")
#: Rows of a list, and rows at most; characters of an id, and of another text that is asked for.
ROWS, MOST_ROWS = 50, 200
ID, TEXT = 200, 300


class NotFound(AiotaskError):
    """There is nothing of this id or name."""


@dataclass(frozen=True)
class Choices:
    """Choices of the operator of a dashboard.

    Attributes:
        allow: verbs that anybody may do here; empty: the dashboard has no verb at all.
        hide_arguments: show no arguments and no results of jobs.
        hide: further parts of names of arguments whose values are shown as dots.
        result_db: the history file; None: as the commands find it.
    """

    allow: Collection[str] = ACTS
    hide_arguments: bool = False
    hide: Collection[str] = ()
    result_db: str | None = None

    @property
    def read_only(self) -> bool:
        return not self.allow


@dataclass(frozen=True)
class Look:
    """What one look is about.

    Attributes:
        given: what was asked for, by name: ``status``, ``queue``, ``task``, ``after`` and the like.
    """

    connections: Connections
    connection: Connection
    visitor: Visitor
    choices: Choices
    given: Mapping[str, str] = field(default_factory=dict)
    #: What was refused here, so that repeats are told in few lines.
    refusals: Refusals = field(default_factory=Refusals)

    # ---- reading

    @property
    def place(self) -> Place:
        return Place(opened=(self.connection,))

    @property
    def result_db(self) -> str | None:
        return self.choices.result_db

    async def stats(self) -> Stats:
        return await self.connections.stats(self.connection)

    async def kept(self, what: str, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """What ``read`` has given within the last seconds; it is called once, however many look."""
        return await self.connections.kept(self.connection, what, seconds, read)

    # ---- what was asked

    def asked(self, name: str, most: int = TEXT) -> str:
        """A text that was asked for; empty: none.

        Raises:
            ConfigError: it is longer than ``most`` characters.
        """
        return bounded(name, self.given.get(name, ""), most)

    def number(self, name: str, usual: int, most: int) -> int:
        found = self.asked(name)
        return min(max(int(found), 1), most) if found.isdecimal() and len(found) < 10 else usual

    @property
    def rows(self) -> int:
        return self.number("limit", ROWS, MOST_ROWS)

    @property
    def start(self) -> int:
        """Where a list that is counted begins."""
        return self.number("after", 0, 1_000_000) if self.asked("after") else 0

    def status(self) -> Status | None:
        """The status that was asked for.

        Raises:
            ConfigError: there is no such status.
        """
        return status_named(self.asked("status"))

    # ---- acting

    @cached_property
    def actions(self) -> Actions:
        may = frozenset(self.visitor.may) & frozenset(self.choices.allow)
        return Actions(self.place, Visitor(self.visitor.name, may, self.visitor.source), self.refusals)

    def may(self, verb: str) -> bool:
        return self.actions.may(Verb(verb))


def status_named(text: str) -> Status | None:
    """A status by its name in any case; empty: None.

    Raises:
        ConfigError: there is no such status.
    """
    name = text.upper()
    if name and name not in Status.__members__:
        raise ConfigError(f'There is no status "{name}". Statuses: {", ".join(Status).lower()}.')
    return Status(name) if name else None
