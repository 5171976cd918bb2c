"""What an action is about, in words: for the question before it, and for the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..inspector import JobFilter
from .ended import OfHistory
from .letters import Filter

__all__ = ["NAMED", "filter_words", "letter_words", "many_words"]

#: Ids that are named at most.
NAMED = 5


def filter_words(
    wanted: JobFilter, error: str = "", *, of_history: OfHistory | None = None, is_of_letters: bool = False
) -> str:
    """What a filter of jobs finds.

    Args:
        of_history: they are those of a history file.
        is_of_letters: they are dead letters.
    """
    parts = [
        *([f"with status {wanted.status}"] if wanted.status and not is_of_letters else []),
        *([f"in queue {wanted.queue}"] if wanted.queue else []),
        *([f"of task {wanted.task}"] if wanted.task else []),
        *([f"whose id begins with {wanted.prefix}"] if wanted.prefix else []),
        *([f"containing {wanted.text}"] if wanted.text else []),
        *([f"whose error contains {error}"] if error else []),
        *(_times(of_history.since, of_history.until) if of_history is not None else []),
    ]
    noun = "jobs of the history" if of_history is not None else "dead letters" if is_of_letters else "jobs"
    return f"{noun} {', '.join(parts)}" if parts else f"all {noun}"


def letter_words(wanted: Filter) -> str:
    """What a filter of dead letters finds."""
    parts = [
        *([f"of task {wanted.task}"] if wanted.task else []),
        *([f"in queue {wanted.queue}"] if wanted.queue else []),
        *([f"whose error contains {wanted.error}"] if wanted.error else []),
        *_times(wanted.since, wanted.until),
    ]
    return f"dead letters {', '.join(parts)}" if parts else "all dead letters"


def _times(since: float | None, until: float | None) -> list[str]:
    return [f"{word} {_moment(at)}" for word, at in (("since", since), ("until", until)) if at]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def many_words(ids: Sequence[str], noun: str) -> str:
    """Things by their ids: ``job a``, ``2 jobs: a, b``."""
    named = ", ".join(ids[:NAMED])
    if len(ids) == 1:
        return f"{noun} {named}"
    return f"{len(ids):,} {noun}s: {named}{', …' if len(ids) > NAMED else ''}"
