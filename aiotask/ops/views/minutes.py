"""What was counted in the range that was asked for."""

from __future__ import annotations

from ...errors import ConfigError
from ..series import RANGES, Ranged, read_minutes
from .look import Look

__all__ = ["minutes_of", "range_in"]

#: Seconds for which minutes are kept, for all who look: the keepers write every 5 s.
_KEPT = 5.0


def range_in(look: Look, usual: str = "1h") -> str:
    """The name of the range that was asked for.

    Raises:
        ConfigError: there is no such range.
    """
    name = look.asked("range") or usual
    if name not in RANGES:
        raise ConfigError(f'There is no range "{name}". Ranges: {", ".join(RANGES)}.')
    return name


async def minutes_of(look: Look, name: str) -> Ranged:
    return await look.kept(f"minutes {name}", _KEPT, lambda: read_minutes(look.connection, name))
