"""The part of an app that knows which arguments people are not shown."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..brokers import features
from ..brokers.technology import HIDES
from ..errors import ConfigError
from ..loops.agent import agent
from ..settings import environment
from ..values.hidden import Hidden

if TYPE_CHECKING:
    from ..tasks.task import Registry

__all__ = ["Hiding", "words_hidden"]

#: Tasks with hidden parameters that are told of at most.
_TASKS = 1_000


class Hiding:
    """The part of an app that knows which arguments people are not shown."""

    if TYPE_CHECKING:
        name: str
        hide: tuple[str, ...]
        registry: Registry

        @property
        def url(self) -> str: ...

    @property
    def hidden(self) -> Hidden:
        """The arguments that tools show as dots: by the names that every app hides, those of ``hide``, and where they
        stand in the calls of the tasks that are registered by now."""
        named = Hidden().with_words(self.hide)
        places: dict[str, tuple[int, ...]] = {}
        for task in self.registry:
            if len(places) < _TASKS and (found := tuple(_places(task.function, named))):
                places.update(dict.fromkeys((task.name, *task.aliases), found))
        return Hidden(named.words, places)

    @asynccontextmanager
    async def _hiding(self) -> AsyncIterator[None]:
        """A block in which a worker in this event loop tells the broker what the app hides."""
        hidden = self.hidden if len(self.registry) else Hidden()
        if hidden == Hidden() or HIDES not in features(self.url):
            yield
            return
        from ..brokers import connect, hides_of
        from ..worker.hiding import tell_hidden

        broker = connect(self.url, self.name)
        telling = agent(tell_hidden(hides_of(broker), "in-loop", hidden, replaces=False))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await broker.close()


def words_hidden(given: str | Iterable[str]) -> tuple[str, ...]:
    """Parts of names that are hidden: those given, and those in ``AIOTASK_HIDE``, which are separated by commas.

    Raises:
        ConfigError: one is no text, or empty, which would hide every argument.
    """
    words = [given] if isinstance(given, str) else list(given)
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise ConfigError(f'hide={given!r}: give parts of names of arguments, as in hide=("iban", "passport").')
    words += (environment("HIDE") or "").split(",")
    return tuple(word.strip().lower() for word in words if word.strip())


def _places(function: Callable[..., Any] | None, hidden: Hidden) -> Iterator[int]:
    """The places of positional arguments that are hidden."""
    if function is None:
        return
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    for number, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            if hidden.hides(parameter.name):
                yield -number - 1
            return
        if parameter.kind is parameter.KEYWORD_ONLY:
            return
        if hidden.hides(parameter.name):
            yield number
