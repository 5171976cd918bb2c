"""What a trial is, and the register of all of them: one file each in ``tests/chaos/trials``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from .arena import Arena
    from .report import Report

__all__ = ["Tier", "TierName", "Trial", "names", "registered", "the_trial", "trial"]

TierName: TypeAlias = Literal["short", "full"]


class Tier:
    """The sizes of one tier as attributes: ``tier.jobs``, ``tier.seconds`` and whatever else a trial names.

    Args:
        limit: seconds after which the trial is ended as hung.
    """

    def __init__(self, name: TierName, limit: float, sizes: dict[str, Any]) -> None:
        self.name = name
        self.limit = limit
        self.sizes = sizes

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["sizes"][name]
        except KeyError:
            raise AttributeError(f'The {self.name} tier names no size "{name}".') from None


Run: TypeAlias = "Callable[[Arena, Tier, Random], Awaitable[Report]]"


@dataclass(frozen=True)
class Trial:
    """One test of a promise.

    Args:
        number: as in the list of trials.
        name: the name of its file.
        summary: one line of what is done.
        passes: when it has passed, line by line.
        module: the app that workers run.
    """

    number: int
    name: str
    summary: str
    passes: Sequence[str]
    short: Tier
    full: Tier
    run: Run
    module: str = "tests.chaos.app"
    #: Options of the server; more servers are the trial's own affair.
    server: Sequence[str] = field(default=())
    #: Says what this machine lacks for the trial; empty: nothing.
    lacks: Callable[[], str] = str

    def tier(self, name: TierName) -> Tier:
        return self.full if name == "full" else self.short


_register: dict[str, Trial] = {}


def trial(
    number: int,
    *,
    summary: str,
    passes: Sequence[str],
    short: dict[str, Any],
    full: dict[str, Any],
    module: str = "tests.chaos.app",
    server: Sequence[str] = (),
    lacks: Callable[[], str] = str,
    limits: tuple[float, float] = (60.0, 600.0),
) -> Callable[[Run], Run]:
    """Register the function as the trial that its file is named after.

    Args:
        short, full: sizes of each tier.
        server: command line options of the arena's server, such as ``("--appendonly", "yes")``.
        lacks: says what this machine lacks for the trial, which is skipped then; empty: nothing.
        limits: seconds after which the short and the full tier are ended as hung.
    """

    def register(run: Run) -> Run:
        name = run.__module__.rpartition(".")[2]
        _register[name] = Trial(
            number,
            name,
            summary,
            tuple(passes),
            Tier("short", limits[0], short),
            Tier("full", limits[1], full),
            run,
            module,
            tuple(server),
            lacks,
        )
        return run

    return register


def names() -> list[str]:
    """Every trial there is a file of; nothing is imported for that."""
    from . import trials

    return sorted(module.name for module in pkgutil.iter_modules(trials.__path__) if not module.name.startswith("_"))


def the_trial(name: str) -> Trial:
    """The trial of this name; LookupError says which there are."""
    if name not in names():
        raise LookupError(f'There is no trial "{name}". There are: {", ".join(names())}.')
    importlib.import_module(f"{__package__}.trials.{name}")
    if name not in _register:
        raise LookupError(f'The file of the trial "{name}" registers none: decorate its function with @trial(…).')
    return _register[name]


def registered() -> list[Trial]:
    """All of them by number."""
    return sorted((the_trial(name) for name in names()), key=lambda trial: trial.number)
