"""One job on a terminal, line by line."""

from __future__ import annotations

from typing import Any

from .output import ago, call_text, console, plain

__all__ = ["coloured", "show_one"]

_COLOURS = {"RUNNING": "green", "SUCCESS": "green", "FAILED": "red", "PARKED": "yellow", "RETRYING": "yellow"}
#: What lines are called that have another name than the field.
_NAMES = {"parent": "sent by", "deps": "needed"}


def coloured(status: str) -> str:
    """A status in its colour, for a terminal."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/{colour}]" if colour else status


def show_one(job: dict[str, Any]) -> None:
    """Print one job line by line, its traceback last."""
    from aiotask.log.events import in_words

    terminal = console()
    for key, value in job.items():
        if key == "traceback" or value is None or value in ("", []):
            continue
        if key.endswith("_at"):
            shown = f"{_moment(value)} ({ago(value)})"
        elif key in ("timeout", "result_ttl"):
            shown = in_words(value)
        elif key == "status":
            shown = coloured(value)
        elif key == "deps":
            shown = plain(", ".join(value), 500)
        elif key == "failures":
            shown = _indented(
                [f"{each['attempt']}: {each['error']} ({each['worker']}, {each['at']})" for each in value]
            )
        elif key == "columns":
            shown = _indented([f"{name}={column!r}" for name, column in value.items()])
        elif key == "arguments":
            shown = plain(call_text(value), 500)
        else:
            shown = plain(value, 500) if len(lines := str(value).splitlines()) < 2 else _indented(lines)
        terminal.print(f"{_NAMES.get(key, key.removesuffix('_at')):<12} {shown}", soft_wrap=True)
    if job.get("started_at") and job.get("finished_at"):
        terminal.print(f"{'took':<12} {in_words(max(job['finished_at'] - job['started_at'], 0))}")
    if job.get("traceback"):
        terminal.print()
        for line in job["traceback"].splitlines():
            terminal.print(plain(line, 1000), soft_wrap=True)


def _indented(lines: list[str]) -> str:
    return "\n".join([plain(lines[0], 1000), *(f"{'':<12} {plain(line, 1000)}" for line in lines[1:])])


def _moment(at: float) -> str:
    import datetime

    try:
        return datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"  # beyond the year 9999 in this time zone
