"""``/bulk`` asks before an action on all that a filter finds, and ``/bulk/ID`` shows how far one is."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ....inspector import JobFilter
from ....job import Status
from ....ops import letters
from ....ops.bulk import MOST_COUNTED, Action
from ....ops.visitors import Verb
from ..forms import safe_path
from ..view import View
from .shown import Shown, named

__all__ = ["bulk", "new_bulk"]

_ACTIONS = {
    Verb.CANCEL: Action.CANCEL,
    Verb.PURGE: Action.PURGE,
    Verb.RUN_NOW: Action.RUN_NOW,
    Verb.RESEND: Action.RESEND,
    Verb.MOVE: Action.MOVE,
}
_OF_LETTERS: dict[Verb, letters.Verb] = {Verb.REPLAY: "replay", Verb.DISCARD: "delete"}


async def new_bulk(view: View) -> Shown:
    """How many match, before it is begun."""
    try:
        verb = Verb(view.asked("verb"))
    except ValueError:
        raise HTTPException(404, "There is no such bulk action.") from None
    fields = {name: view.asked(name) for name in ("status", "queue", "task", "prefix", "error", "q")}
    if verb in _OF_LETTERS:
        wanted = letters.Filter(fields["task"] or None, fields["queue"] or None, fields["error"] or None)
        async with view.actions.letters(_OF_LETTERS[verb], wanted) as found:
            number, subject, of_graphs = found.count(), found.subject, len(found.of_graphs)
        is_open = wanted.is_open
    elif verb in _ACTIONS:
        status = view.status()
        jobs = JobFilter(status, fields["queue"] or None, fields["task"] or None, fields["prefix"], fields["q"])
        if verb is Verb.MOVE:
            fields["to"] = view.asked("to")
        async with view.actions.matching(_ACTIONS[verb], jobs, fields.get("to", "")) as matching:
            number, subject, of_graphs = await matching.count(), matching.subject, 0
        is_open = jobs == JobFilter()
        fields["status"] = status.value.lower() if isinstance(status, Status) else ""
    else:
        raise HTTPException(404, f"{verb.replace('_', ' ').capitalize()} is no bulk action.")
    data = {
        "title": "All that match",
        "verb": verb,
        "number": number,
        "is_more": number >= MOST_COUNTED,
        "subject": subject,
        "of_graphs": of_graphs,
        "fields": {name: value for name, value in fields.items() if value},
        "typed": "delete"
        if verb is Verb.DISCARD
        else fields["queue"]
        if verb is Verb.PURGE
        else "all"
        if is_open
        else "",
        "to": safe_path(view.asked("back", 2000), view.url("/jobs")),
    }
    return Shown("new_bulk.html", data)


async def bulk(view: View) -> Shown:
    run = view.site.runs.get(named(view, "id"))
    if run is None or run.app != view.connection.label:
        raise HTTPException(
            404,
            "This bulk action is not known here: the dashboard was restarted, or another of its processes runs it. "
            "What it has done is in the audit, and it can be begun again without harm.",
        )
    return Shown("bulk.html", {"title": f"{run.verb.replace('_', ' ').capitalize()} {run.subject}", "run": run})
