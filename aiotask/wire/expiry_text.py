"""What a caller reads of a job that has expired, whichever process ended it."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["expiry_text"]


def expiry_text(id: str, task: str, attempt: int, at: float) -> str:
    """The message of JobExpired.

    Args:
        attempt: number of the run that did not start.
        at: Unix seconds after which no run was to start; 0: not known.
    """
    until = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at else "its time"
    failed = attempt - 1
    if failed:
        runs = f"{failed} failed run{'s' if failed > 1 else ''}"
        return f'Job "{id}" ({task}) expired after {runs}: no other run was to start after {until}.'
    return f'Job "{id}" ({task}) expired: no run of it was to start after {until}.'
