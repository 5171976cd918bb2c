"""When a schedule runs: its spec, and the arithmetic of its runs. No function here asks a clock."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..errors import ConfigError

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["LATE", "MOST", "Spec", "Turn", "after", "check_spec", "digest", "due_at", "next_run", "notes", "upcoming"]

#: Seconds up to which a run is late and not missed: it comes whatever the policy is.
LATE = 60.0
#: Runs of one schedule that come at once, at most.
MOST = 1_000
#: Runs that are counted to tell how many were left out, at most.
_COUNTED = 10_000
#: Shortest and longest step of ``every``, in seconds; longest jitter.
_SHORTEST, _LONGEST, _MOST_JITTER = 0.1, 3_153_600_000.0, 86_400.0
_MICRO = 1_000_000

#: Names that only some machines have, or each for a zone of its own.
_OF_ONE_MACHINE = ("localtime", "posixrules", "posix/", "right/", "Factory")

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


#: What each field may hold, by the name that cronsim gives it in errors.
_FIELDS = {
    "minute": "minute is 0 to 59",
    "hour": "hour is 0 to 23",
    "day-of-month": "day of the month is 1 to 31, L or LW, and has to exist in one of the months",
    "month": "month is 1 to 12, or JAN to DEC",
    "day-of-week": "day of the week is 0 to 7 (0 and 7: Sunday), or SUN to SAT, as in MON-FRI, MON#2 or 5L",
}


class Spec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a schedule runs. Either ``cron`` or ``every`` is given."""

    #: Five fields.
    cron: str = ""
    #: Seconds between two runs, counted from the Unix epoch.
    every: float = 0.0
    timezone: str = "UTC"
    #: Seconds by which a run is put off at most.
    jitter: float = 0.0
    #: What becomes of runs that no keeper was there for: ``skip``, ``once`` (the last of them) or ``all``.
    missed: str = "once"

    @property
    def words(self) -> str:
        """The spec for people."""
        when = f"{self.cron} ({self.timezone})" if self.cron else f"every {self.every:g} s"
        return f"{when}, jitter {self.jitter:g} s" if self.jitter else when

    @property
    def horizon(self) -> float:
        """Seconds from now in which the next run lies at latest; 0: a calendar says when."""
        return self.every + self.jitter if self.every else 0.0


def check_spec(
    cron: str | None, every: float | None, timezone: str | None = None, jitter: float = 0.0, missed: str = "once"
) -> Spec:
    """The spec of these options, whose types are right.

    Raises:
        ConfigError: not exactly one of ``cron`` and ``every`` is given, the expression is wrong or never fires, the
            time zone is not known, or a package is missing.
    """
    if (cron is None) == (every is None):
        raise ConfigError('Give either cron="…" or every=… (seconds): one of them says when a schedule runs.')
    if not 0 <= jitter <= _MOST_JITTER:
        raise ConfigError(f"jitter={jitter:g} is out of range: give 0 to {_MOST_JITTER:g} seconds.")
    if every is not None:
        if not _SHORTEST <= every <= _LONGEST:
            raise ConfigError(f"every={every:g} is out of range: give at least {_SHORTEST:g} seconds.")
        if timezone is not None:
            raise ConfigError("timezone= belongs to cron=: every= counts seconds, which no time zone changes.")
        return Spec(every=every, jitter=jitter, missed=missed)
    assert cron is not None
    spec = Spec(_fields(cron), timezone="UTC" if timezone is None else timezone, jitter=jitter, missed=missed)
    after(spec, 0.0)
    return spec


def _fields(cron: str) -> str:
    fields = _NAMED.get(cron.strip().lower(), cron).upper().split()
    if len(fields) == 6:
        raise ConfigError(f'cron="{cron}" has six fields, and there is none for seconds here. Use every=… (seconds).')
    if len(fields) != 5:
        raise ConfigError(
            f'cron="{cron}" is not a cron expression: give minute, hour, day of the month, month and day of the week, '
            f'as in "*/5 9-17 * * MON-FRI", or one of {", ".join(_NAMED)}.'
        )
    return " ".join(fields)


def _zone(name: str) -> tzinfo:
    from importlib.util import find_spec
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name == "UTC":
        return UTC
    if name.startswith(_OF_ONE_MACHINE):
        raise ConfigError(
            f'timezone="{name}" is another one on other machines, and a schedule runs on any. Write one as in '
            '"Europe/Berlin".'
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        missing = "" if find_spec("tzdata") else " This machine may have no time zones: install tzdata."
        raise ConfigError(
            f'timezone="{name}" is not a time zone that Python knows. {_meant_zone(name)}{missing}'
        ) from None


def _meant_zone(name: str) -> str:
    """A sentence on the time zone that was meant, by its city; abbreviations such as CEST tell no place."""
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(available_timezones()) if "/" in zone}
    close = [] if name.isupper() else get_close_matches(name.rpartition("/")[2].lower(), cities, n=1, cutoff=0.9)
    return f'Did you mean "{cities[close[0]]}"?' if close else 'Write one as in "Europe/Berlin".'


def _cron(spec: Spec, start: float) -> CronSim:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ConfigError(
            "cron= needs the package cronsim: pip install 'aiotask[cron]'. every= (seconds) does without it."
        ) from None
    try:
        return CronSim(spec.cron, datetime.fromtimestamp(start, _zone(spec.timezone)))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        hint = f" The {_FIELDS[field]}." if field in _FIELDS else f" {error}."
        raise ConfigError(f'cron="{spec.cron}" is wrong, or never fires.{hint}') from None


def _moments(spec: Spec, start: float) -> Iterator[float]:
    """The moments after ``start``, in their order."""
    if spec.every:
        step = round(spec.every * _MICRO)
        number = round(start * _MICRO) // step
        while True:
            number += 1
            yield number * step / _MICRO
    for found in _cron(spec, start):
        # From within an hour that comes twice, cronsim begins with a moment of the first one.
        if (moment := found.timestamp()) > start:
            yield moment


def after(spec: Spec, start: float) -> float:
    """The first moment of the spec after ``start``; both in Unix seconds.

    Raises:
        ConfigError: there is none, or a package or time zone is missing here.
    """
    if spec.every:
        return next(_moments(spec, start))
    return _after(spec.cron, spec.timezone, start)


@lru_cache(maxsize=1_000)
def _after(cron: str, timezone: str, start: float) -> float:
    """The same of a calendar; what thousands of schedules have in common is computed once."""
    moment = next(_moments(Spec(cron, timezone=timezone), start), None)
    if moment is None:
        raise ConfigError(f'cron="{cron}" never fires.')
    return moment


def due_at(spec: Spec, name: str, moment: float) -> float:
    """The moment put off by the jitter of the schedule with this name, which is the same wherever it is computed."""
    if not spec.jitter:
        return moment
    drawn = int.from_bytes(blake2b(f"{name}\0{moment!r}".encode(), digest_size=6).digest()) / 2.0**48
    return moment + round(drawn * spec.jitter, 3)


class Turn(NamedTuple):
    """The moments that run now, and the one that comes next. ``left_out``: how many are left out, 10,000 at most."""

    runs: list[float]
    next: float
    left_out: int = 0


def next_run(spec: Spec, name: str, stands: float, now: float) -> Turn:
    """What becomes of a schedule that stands at the moment ``stands``, which has not run, at the time ``now``."""
    if due_at(spec, name, stands) > now:
        return Turn([], stands)
    if now - stands <= LATE:
        runs, following = _due(spec, name, stands, now)
        return Turn(runs, following)
    # There may have been very many moments since then.
    left_out = 0
    window = MOST if spec.missed == "all" else round(LATE / _SHORTEST)
    # Those of the last ``jitter`` seconds may not be due yet.
    newest = _newest(spec, stands, max(stands, now - spec.jitter), window)
    runs, following = _due(spec, name, newest, now)
    late = [moment for moment in runs if now - due_at(spec, name, moment) <= LATE]
    if spec.missed == "skip":
        runs = late
    elif spec.missed == "once":
        runs = late or runs[-1:]
    elif newest > stands:
        left_out = 1 + sum(1 for _ in islice(_until(spec, stands, newest - 0.001), _COUNTED - 1))
    return Turn(runs, following, left_out)


def _due(spec: Spec, name: str, first: float, now: float) -> tuple[list[float], float]:
    """The moments from ``first`` on that are due, MOST at most, and the one after them."""
    if due_at(spec, name, first) <= now < due_at(spec, name, following := after(spec, first)):
        return [first], following
    runs: list[float] = []
    following = first
    for moment in _moments(spec, first):
        if len(runs) == MOST or due_at(spec, name, following) > now:
            break
        runs.append(following)
        following = moment
    return runs, following


def _newest(spec: Spec, stands: float, now: float, count: int) -> float:
    """The first one of the newest ``count`` moments from ``stands`` to ``now``."""
    span = 3_600.0
    while True:
        start = max(stands, now - span)
        found = deque(_until(spec, start, now), count)
        if start == stands:
            found = deque([stands, *found], count)
        if start == stands or len(found) == count or (found and count < MOST):
            return found[0]
        span *= 8


def _until(spec: Spec, start: float, now: float) -> Iterator[float]:
    for moment in _moments(spec, start):
        if moment > now:
            return
        yield moment


def upcoming(spec: Spec, name: str, start: float, count: int) -> list[float]:
    """When the next runs are due, in Unix seconds."""
    return [due_at(spec, name, moment) for moment in islice(_moments(spec, start), count)]


def digest(spec: Spec) -> bytes:
    """Eight bytes that tell whether two schedules have the same moments."""
    return blake2b(repr((spec.cron, spec.every, spec.timezone, spec.jitter)).encode(), digest_size=8).digest()


_STEP = re.compile(r"\*/\d+")


def notes(spec: Spec) -> list[str]:
    """What may surprise people about a spec, as sentences."""
    if not spec.cron:
        return []
    minute, hour, day, _, weekday = spec.cron.split()
    found = []
    if spec.timezone != "UTC" and not hour.startswith("*"):
        if minute.startswith("*"):
            found.append(
                "Where the clocks go forward over this hour, there is no run on that day; where they go back, it runs "
                "in both hours."
            )
            found.append(
                "Named minutes (0,30 instead of */30) run right after the first change, and once each at the second."
            )
        else:
            found.append(
                "Where the clocks go forward over this time, it runs right after the change; where they go back over "
                "it, it runs once."
            )
    if weekday != "*" and _STEP.fullmatch(day):
        found.append(f"{day} with a day of the week means that both must hold, as in cron.")
    elif weekday != "*" and day != "*":
        found.append("A day of the month and a day of the week: it runs where either of them holds, as in cron.")
    return found
