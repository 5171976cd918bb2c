"""What one run of ``aiotask top`` shares: its connections, who acts, and which app is shown."""

from __future__ import annotations

from collections.abc import Callable

from aiotask.ops.connection import Place
from aiotask.ops.connections import Connections
from aiotask.ops.refusals import Refusals
from aiotask.ops.views.look import Choices, Look
from aiotask.ops.views.runs import Runs
from aiotask.ops.visitors import Visitor, operator

from .page import Page, Where
from .views import read_page

__all__ = ["Session"]


class Session:
    """Reads pages, and knows which app they are of."""

    def __init__(self, place: Place, choices: Choices) -> None:
        self.connections = Connections(place, hide=choices.hide)
        self.choices = choices
        self.visitor = Visitor(operator().name, choices.allow, "top")
        self.runs = Runs()
        self.refusals = Refusals()
        #: The label of the app that is shown; empty: the first one. And of all that are there.
        self.app = ""
        self.apps: tuple[str, ...] = ()
        #: The server, in words, as it was last seen.
        self.server = ""

    async def look(self, where: Where) -> Look:
        """A look at what is asked for.

        Raises:
            AiotaskError: there is no app, or the server cannot be reached.
        """
        connection = await self.connections.named(self.app)
        self.apps = tuple(each.label for each in await self.connections.all())
        self.app = connection.label
        return Look(self.connections, connection, self.visitor, self.choices, where.given, self.refusals)

    async def read(self, where: Where) -> Callable[[int], Page]:
        look = await self.look(where)
        made = await read_page(look, where)
        facts = await look.kept("facts", 10.0, look.connection.inspector.facts)
        self.server = f"{facts.kind.capitalize()} {facts.version} at {look.connection.address}"
        return made

    def next_app(self) -> bool:
        """Go to the next app; False: there is one alone."""
        if len(self.apps) < 2:
            return False
        self.app = self.apps[(self.apps.index(self.app) + 1) % len(self.apps)]
        return True

    async def close(self) -> None:
        await self.runs.close()
        await self.connections.close()
