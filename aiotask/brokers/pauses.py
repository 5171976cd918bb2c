"""Pauses of queues and tasks: what a pause is, and the verbs of brokers with the feature ``PAUSES``."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from ..broker import Broker
from ..errors import ConfigError
from ..job import PAUSED_NEED
from ..loops.delay import DoublingDelay

__all__ = ["Condition", "Pause", "Pauses", "Standing", "begin_pause", "condition_of", "pause_id", "renewed"]


#: Seconds that the workers get to say that they obey a pause.
_OBEY_TIMEOUT = 2.0


def _is_in(value: Any, values: Any) -> bool:
    return value in values


#: Longer ones first: a text is split at the first operator in it.
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "in": _is_in,
}


class Pause(msgspec.Struct, frozen=True, gc=False):
    """A queue, a task, or calls of a task, of which nothing starts until the pause is over."""

    id: str
    #: The queue that is paused; empty: it is not a queue. Neither queue nor task: everything is paused.
    queue: str = ""
    task: str = ""
    #: ``ARGUMENT OPERATOR VALUE``: only calls of the task for which this is true; empty: all of them.
    where: str = ""
    #: Who has paused it, why, and when, in Unix seconds.
    by: str = ""
    why: str = ""
    at: float = 0.0

    @property
    def what(self) -> str:
        """What is paused, in words."""
        if self.queue:
            return f'queue "{self.queue}"'
        if not self.task:
            return "everything"
        return f'task "{self.task}" where {self.where}' if self.where else f'task "{self.task}"'

    def need_in(self, queue: str) -> str:
        """The need of the jobs of a queue that this pause parks: they count as jobs that wait in that queue."""
        return f"{PAUSED_NEED}{self.id}@{queue}"


def renewed(pause: Pause, standing: Iterable[Pause]) -> tuple[Pause, Pause | None]:
    """A pause of what may be paused already, and the pause that stands: that one keeps who began it and when, and its
    reason, unless a new one is given."""
    stands = next((each for each in standing if each.id == pause.id), None)
    if stands is None:
        return pause, None
    return msgspec.structs.replace(stands, why=pause.why or stands.why), stands


class Condition(NamedTuple):
    """A comparison of an argument with a value."""

    argument: str
    operator: str
    value: Any

    def holds(self, arguments: Mapping[str, Any]) -> bool:
        """Whether it is true of a call; not where the call has no such argument, or the two cannot be compared."""
        if self.argument not in arguments:
            return False
        try:
            return bool(_OPERATORS[self.operator](arguments[self.argument], self.value))
        except Exception:
            return False


def condition_of(text: str) -> Condition:
    """The condition in a text ``ARGUMENT OPERATOR VALUE``.

    The value is a literal of Python (``7``, ``"a"``, ``[1, 2]``, ``None``); what is none is text. ``in`` takes a list,
    or texts with commas between them.

    Raises:
        ConfigError: the text has another form.
    """
    argument, operator, value = _split(text)
    if not argument.isidentifier() or not operator or not value:
        raise ConfigError(
            f"where={text!r} is no condition: give the name of an argument, an operator and a value, as in "
            f"\"tenant == 'acme'\". Operators: {', '.join(_OPERATORS)}."
        )
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        literal = value
    if operator == "in" and not isinstance(literal, list | tuple | set | dict):
        literal = [part.strip() for part in str(literal).split(",")]
    return Condition(argument, operator, literal)


def _split(text: str) -> tuple[str, str, str]:
    words = text.split(None, 2)
    if len(words) == 3 and words[1] in _OPERATORS:
        return words[0], words[1], words[2].strip()
    for symbol in ("==", "!=", "<=", ">=", "<", ">"):
        argument, found, value = text.partition(symbol)
        if found:
            return argument.strip(), symbol, value.strip()
    return "", "", ""


def pause_id(queue: str = "", task: str = "", where: str = "") -> str:
    """The id of a pause: the same thing is paused once."""
    if queue:
        return f"queue:{queue}"
    if not task:
        return "all"
    if not where:
        return f"task:{task}"
    argument, operator, value = condition_of(where)
    digest = hashlib.blake2b(f"{argument} {operator} {value!r}".encode(), digest_size=4).hexdigest()
    return f"task:{task}#{digest}"


class Standing(msgspec.Struct, frozen=True, gc=False):
    """The pauses of an app, the oldest first."""

    pauses: list[Pause]
    #: Needs of parked jobs whose pause is over: every worker offers them.
    resumed: list[str] = []
    #: Ids of pauses whose end has begun: their limited jobs go back into their lines. Any worker goes on with it.
    resuming: list[str] = []
    #: How often pauses had changed.
    changes: int = 0


class Pauses(Broker, Protocol):
    """A broker that keeps pauses."""

    async def pause(self, pause: Pause) -> int:
        """Begin a pause, or replace one of the same id, and tell every live worker. ``claim`` takes nothing of a paused
        queue from now on.

        Returns:
            The number of changes of pauses, this one included. A worker that knows of as many obeys this pause."""
        ...

    async def obey(self, incarnation: str, changes: int) -> None:
        """Say that a worker obeys the pauses that it was told of when they had changed so often."""
        ...

    async def disobeying(self, id: str, changes: int) -> list[str]:
        """The live incarnations that have not said that they obey a pause; none where it is over.

        Args:
            changes: what ``pause`` has returned."""
        ...

    async def resume(self, id: str, *, begun: bool = False) -> bool:
        """End a pause, and tell every live worker. False: there was none of this id.

        Before it ends, the limited jobs that it has parked are back at their places in their lines. This may take
        several calls to the server; ``begun`` goes on with what another caller has begun (``Standing.resuming``), and
        does nothing else."""
        ...

    async def pauses(self) -> Standing:
        """What is paused now."""
        ...


async def begin_pause(broker: Pauses, pause: Pause) -> int:
    """Begin a pause, and wait until the live workers obey it: from then on none of them starts a job of it.

    Returns:
        How many workers have not said so within 2 s, since they are blocked or have just died, or belong to an earlier
        release. They start what they have in hand at most.
    """
    changes = await broker.pause(pause)
    delay = DoublingDelay(0.002, 0.05)
    try:
        async with asyncio.timeout(_OBEY_TIMEOUT):
            while await broker.disobeying(pause.id, changes):
                await delay.wait()
    except TimeoutError:
        return len(await broker.disobeying(pause.id, changes))
    return 0
