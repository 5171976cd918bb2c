"""One job on a terminal, line by line."""

from __future__ import annotations

from typing import Any

from .output import ago, call_text, console, plain

__all__ = ["coloured", "needs_text", "show_one"]

_COLOURS = {"RUNNING": "green", "SUCCESS": "green", "FAILED": "red", "PARKED": "yellow", "RETRYING": "yellow"}
#: What lines are called that have another name than the field.
_NAMES = {"parent": "sent by", "deps": "needed", "ahead": "before it", "seconds_left": "time left"}


def coloured(status: str) -> str:
    """A status in its colour, for a terminal."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/{colour}]" if colour else status


def needs_text(need: str) -> str:
    """What a parked job needs, or the pause whose end it waits for."""
    if not need.startswith("pause:"):
        return f"needs {plain(need)}"
    paused, _, _ = need.removeprefix("pause:").rpartition("@")
    what, _, name = paused.partition("#")[0].partition(":")
    return f"paused: {plain(f'{what} {name}' if name else 'everything')}"


def show_one(job: dict[str, Any]) -> None:
    """Print one job line by line, its traceback last."""
    from aiotask.log.events import in_words

    terminal = console()
    for key, value in job.items():
        if key != "traceback" and value is not None and value not in ("", []):
            name = _NAMES.get(key, key.removesuffix("_at"))
            terminal.print(f"{name:<12} {_shown(key, value)}", soft_wrap=True)
    if job.get("started_at") and job.get("finished_at"):
        terminal.print(f"{'took':<12} {in_words(max(job['finished_at'] - job['started_at'], 0))}")
    if job.get("traceback"):
        terminal.print()
        for line in job["traceback"].splitlines():
            terminal.print(plain(line, 1000), soft_wrap=True)


def _shown(key: str, value: Any) -> str:
    """A field of a job as text."""
    from aiotask.log.events import in_words
    from aiotask.ops.views.words import count

    if key.endswith("_at"):
        return f"{_moment(value)} ({ago(value)})"
    match key:
        case "timeout" | "result_ttl" | "seconds_left":
            return in_words(value)
        case "ahead":
            return f"{value:,} {'job' if value == 1 else 'jobs'} of its limit and key. See: aiotask limits"
        case "status":
            return coloured(value)
        case "needs":
            return "the end of a pause" if value.startswith("pause:") else plain(value)
        case "progress":
            of = "" if value["total"] is None else f" of {count(value['total'])}"
            return plain(f"{count(value['current'])}{of} {value['message']}".rstrip(), 500)
        case "checkpoint":
            when = f"{_moment(value['at'])} ({ago(value['at'])}), " if value["at"] else ""
            return f"{when}{value['bytes']:,} bytes"
        case "deps":
            return plain(", ".join(value), 500)
        case "arguments":
            return plain(call_text(value), 500)
        case "failures" | "trail" | "columns":
            return _indented(_lines(key, value))
    return plain(value, 500) if len(lines := str(value).splitlines()) < 2 else _indented(lines)


def _lines(key: str, value: Any) -> list[str]:
    if key == "failures":
        return [f"{each['attempt']}: {each['error']} ({each['worker']}, {each['at']})" for each in value]
    if key == "trail":
        return [f"{_moment(at)} {how} {worker}: {error}" for at, worker, how, error in value]
    return [f"{name}={column!r}" for name, column in value.items()]


def _indented(lines: list[str]) -> str:
    return "\n".join([plain(lines[0], 1000), *(f"{'':<12} {plain(line, 1000)}" for line in lines[1:])])


def _moment(at: float) -> str:
    import datetime

    try:
        return datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"  # beyond the year 9999 in this time zone
