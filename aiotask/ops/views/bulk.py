"""An action on all that a filter finds, before it is begun: how many there are, and what has to be typed."""

from __future__ import annotations

from typing import Any

from ...inspector import JobFilter
from .. import letters
from ..actions import LETTER_PERMISSIONS, PERMISSIONS
from ..bulk import MOST_COUNTED
from ..visitors import Verb
from .acts import TYPED, of_history_in
from .look import Look, NotFound
from .marks import word_of

__all__ = ["new_bulk"]

_ACTIONS = {verb: action for action, verb in PERMISSIONS.items()}
_OF_LETTERS = {verb: name for name, verb in LETTER_PERMISSIONS.items()}


async def new_bulk(look: Look, name: str) -> dict[str, Any]:
    """How many match what was asked for.

    Raises:
        NotFound: this verb is no bulk action.
        NotAllowed: the visitor may not do it.
    """
    try:
        verb = Verb(name)
    except ValueError:
        raise NotFound("There is no such bulk action.") from None
    fields = {name: look.asked(name) for name in ("status", "queue", "task", "prefix", "error", "q")}
    if verb in _OF_LETTERS:
        wanted = letters.Filter(fields["task"] or None, fields["queue"] or None, fields["error"] or None)
        async with look.actions.letters(_OF_LETTERS[verb], wanted) as found:
            number, subject, of_graphs = found.count(), found.subject, len(found.of_graphs)
        is_open = wanted.is_open
    elif verb in _ACTIONS:
        status = look.status()
        jobs = JobFilter(status, fields["queue"] or None, fields["task"] or None, fields["prefix"], fields["q"])
        if verb is Verb.MOVE:
            fields["to"] = look.asked("to")
        of_history = None
        if verb is not Verb.RESEND:
            fields["error"] = ""
        elif of_history := of_history_in(look.asked, look.result_db):
            fields["of"] = "history"
            # What is asked for as an age is the same moment when it is done.
            fields |= {name: repr(at) for name in ("since", "until") if (at := getattr(of_history, name)) is not None}
        chosen = _ACTIONS[verb], jobs, fields.get("to", ""), fields["error"], of_history
        async with look.actions.matching(*chosen) as matching:
            number, subject, of_graphs = await matching.count(), matching.subject, 0
        is_open = jobs == JobFilter() and not fields["error"] and (of_history is None or of_history.is_open)
        fields["status"] = status.value.lower() if status else ""
    else:
        raise NotFound(f"{verb.replace('_', ' ').capitalize()} is no bulk action.")
    by_verb = {Verb.DISCARD: TYPED, Verb.PURGE: fields["queue"]}
    return {
        "title": "All that match",
        "verb": verb,
        "word": word_of(verb),
        "number": number,
        "is_more": number >= MOST_COUNTED,
        "subject": subject,
        "of_graphs": of_graphs,
        "fields": {name: value for name, value in fields.items() if value},
        "typed": by_verb.get(verb, "all" if is_open else ""),
    }
