"""Days on which the clocks of a zone are changed, and the runs of a schedule around them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

__all__ = ["CHANGES", "local"]


def local(zone: str, *moment: int) -> float:
    return datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type, misc]


#: Zone, expression, start by local time, the runs by local time with their offsets.
CHANGES = [
    ("Europe/Berlin", "30 2 * * *", (2026, 3, 28, 12), ["03-29 03:00+0200", "03-30 02:30+0200"]),
    ("Europe/Berlin", "30 2 * * *", (2026, 10, 24, 12), ["10-25 02:30+0200", "10-26 02:30+0100"]),
    (
        "Europe/Berlin",
        "0 * * * *",
        (2026, 10, 25, 0, 30),
        ["10-25 01:00+0200", "10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"],
    ),
    (
        "Europe/Berlin",
        "*/30 * * * *",
        (2026, 10, 25, 1, 45),
        ["10-25 02:00+0200", "10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-25 03:00+0100"],
    ),
    # A wild minute in an hour that does not come: not on that day.
    ("Europe/Berlin", "*/30 2 * * *", (2026, 3, 28, 12), ["03-30 02:00+0200", "03-30 02:30+0200"]),
    # And in an hour that comes twice: in both of them; with minutes that are named, once.
    (
        "Europe/Berlin",
        "*/30 2 * * *",
        (2026, 10, 25, 1),
        ["10-25 02:00+0200", "10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-26 02:00+0100"],
    ),
    ("Europe/Berlin", "0,30 2 * * *", (2026, 10, 25, 1), ["10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"]),
    ("Europe/Berlin", "0,30 2 * * *", (2026, 3, 29, 1), ["03-29 03:00+0200", "03-30 02:00+0200"]),
    # The gap is at midnight.
    ("Asia/Tehran", "30 0 * * *", (2021, 3, 21, 12), ["03-22 01:00+0430", "03-23 00:30+0430"]),
    ("Asia/Tehran", "30 23 * * *", (2021, 9, 21, 12), ["09-21 23:30+0430", "09-22 23:30+0330"]),
    # Half an hour.
    ("Australia/Lord_Howe", "45 1 * * *", (2026, 4, 4, 12), ["04-05 01:45+1100", "04-06 01:45+1030"]),
    ("Africa/Casablanca", "30 2 * * *", (2026, 2, 14, 12), ["02-15 02:30+0100", "02-16 02:30+0000"]),
    # 30 December 2011 did not come.
    ("Pacific/Apia", "0 9 * * *", (2011, 12, 29, 10), ["12-31 00:00+1400", "12-31 09:00+1400"]),
]
