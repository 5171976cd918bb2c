"""The verbs of limits, of brokers that have the feature ``limits``.

A job whose ``Push.special`` names a limit waits in a line, one for each key, and is in no lane. A claim admits it: it
takes a slot and a token of its limit, and is a delivery from then on. It stays admitted while it is a suspect, or
recovered; it gives its slot back in the step in which it ends, or is parked, or waits for a retry. What is given back
unstarted goes to its old place in its line, and its token is given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..broker import Broker, Delivery
from ..values.limit import LimitSpec

__all__ = ["LIMIT_KEY", "KeyInfo", "LimitInfo", "Limits", "LimitsReader", "LineInfo"]

#: Characters of the key of a limited job at most.
LIMIT_KEY = 200


class LimitInfo(msgspec.Struct, frozen=True, gc=False):
    """A limit, as people are shown it."""

    name: str
    #: The numbers that hold now, with those that an operator has set; None: no worker has declared the limit, and it
    #: admits nothing.
    spec: LimitSpec | None = None
    #: What the workers have declared, where an operator has set other numbers.
    declared: LimitSpec | None = None
    #: The app path that declared the limit last, and its generation (Unix seconds).
    by: str = ""
    generation: float = 0.0
    #: Whether its declarer has removed the limit: its lines drain without it.
    removed: bool = False
    #: Jobs that are admitted, where ``max_running`` or ``max_running_each`` is limited; else 0.
    running: int = 0
    #: Jobs in its lines. On Redis a counter, which is wrong for as long as jobs wait if the limit's hash was deleted.
    waiting: int = 0
    #: Queue and priority where jobs of the limit have waited, and keys there whose turn may come now.
    places: list[tuple[str, int, int]] = []


class KeyInfo(msgspec.Struct, frozen=True, gc=False):
    """The jobs of one key of a limit."""

    key: str
    #: Jobs in its lines.
    waiting: int
    #: Jobs that are admitted, where ``max_running`` or ``max_running_each`` is limited; of 1,000 jobs of the limit.
    running: int
    #: Number in line and id of the job that waits longest; the numbers of all keys of a limit go up. None: none waits.
    oldest: tuple[int, str] | None = None


class LineInfo(msgspec.Struct, frozen=True, gc=False):
    """What holds a line back."""

    #: Whether one of its jobs may start as soon as a worker has a free seat and the key has its turn.
    has_turn: bool
    #: Seconds until a rate, of the whole limit or of the key, or a retry with ``limit=True`` admits its next job; None:
    #: none of them holds it back.
    seconds: float | None = None


class Limits(Broker, Protocol):
    """A broker that enforces limits.

    ``push`` puts a job with ``Special.limit`` into its line; a ready node, a due job and a replayed letter go the same
    way. ``claim`` and ``wait`` admit up to ``free_seats`` jobs; ``wait`` also ends when a rate allows the next one. A
    limited job ends by ``finish_special`` alone (``Finish.special``). ``requeue`` puts a job that is admitted, and one
    with ``Requeue.limit``, into its line. A job that it parks keeps its place there."""

    #: How many limited jobs the next ``claim`` or ``wait`` of this object admits at most: the free seats of the worker.
    free_seats: int

    async def declare_limits(
        self, generation: float, by: str, limits: Sequence[LimitSpec], *, removes: bool = False
    ) -> list[str]:
        """Declare the limits of an app; the limits of its other declarers stay. Also tells this object that its worker
        has limits, so that its ``wait`` is rung when a slot becomes free.

        A limit that a younger generation has declared stays as it is; generation 0 (a client) declares only limits that
        the broker does not know. The numbers that an operator has set win over both.

        Args:
            generation: Unix seconds by the server's clock at which the supervisor started, or was told to reload.
            by: the app path of the declarer.
            removes: whether limits that the same declarer declared before, and does not any more, are removed.

        Returns:
            the names of the limits that were removed.

        Raises:
            BrokerError: a worker of a release that knows no limits is live.
        """
        ...

    def was_parked(self, delivery: Delivery) -> bool:
        """Whether a claimed job was parked, so that it is not admitted: it goes into its line first
        (``Requeue.limit``), at its old place if it had one."""
        ...

    async def hold_limit(self, limit: str, seconds: float) -> None:
        """Admit no job of a limit and key (``NAME:KEY``) for some seconds."""
        ...

    async def set_limit(self, name: str, numbers: Mapping[str, float]) -> bool:
        """Replace numbers of a limit (``limit.NUMBERS``) until they are reset. False: there is no such limit."""
        ...

    async def reset_limit(self, name: str) -> bool:
        """Let the declared numbers of a limit hold again. False: there is no such limit."""
        ...


class LimitsReader(Protocol):
    """The inspector of such a broker."""

    async def limits(self) -> list[LimitInfo]:
        """Every limit that was declared or has had jobs, by name."""
        ...

    async def limit_keys(self, name: str, most: int) -> list[KeyInfo]:
        """The keys of a limit that have waiting or admitted jobs, in any order. The broker may also return a key that
        has no waiting job.

        Args:
            most: number of keys that the broker returns at most.
        """
        ...

    async def line(self, line: str) -> LineInfo:
        """What holds a line back, by its place (``l:QUEUE:PRIORITY:LIMIT:KEY``)."""
        ...
