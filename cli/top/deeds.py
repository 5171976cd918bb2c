"""Capital letters: what each does to a row, what is asked before, and what has to be typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiotask.job import FINAL, Status
from aiotask.ops.views.acts import TYPED
from aiotask.ops.views.fields import Fields
from aiotask.ops.views.marks import QUESTIONS
from aiotask.ops.views.words import clean, count
from aiotask.ops.visitors import Verb

from .page import Row, Where

__all__ = ["BULK", "TO", "Blank", "Deed", "all_words", "bulk_deed", "deed_of", "keys_of", "kind_of"]

#: Ids that a question names at most.
_NAMED = 3


class Blank(NamedTuple):
    """Something to fill in: the field, its label, and an example."""

    field: str
    label: str
    example: str = ""


@dataclass(frozen=True)
class Deed:
    """An action that is asked for.

    Attributes:
        title: what is done, in words.
        question: what that means.
        typed: what has to be typed first; empty: nothing.
    """

    verb: Verb
    title: str
    question: str
    fields: tuple[tuple[str, str], ...]
    typed: str = ""
    blanks: tuple[Blank, ...] = ()

    def filled(self, more: Mapping[str, str]) -> Fields:
        return Fields([*self.fields, *more.items()])


class _Key(NamedTuple):
    verb: Verb
    word: str
    #: What it is done to, for the form; empty: as the row says.
    on: str = ""


_WHY = Blank("why", "Why", "for those who find it paused")
#: Where jobs are moved.
TO = Blank("to", "To queue", "default")
_PAUSE, _RESUME = _Key(Verb.PAUSE, "pause"), _Key(Verb.RESUME, "resume")
_KEYS: dict[str, dict[str, _Key]] = {
    "queue": {"P": _PAUSE, "X": _Key(Verb.PURGE, "purge")},
    "task": {"P": _PAUSE},
    "all": {"P": _PAUSE},
    "schedule": {"N": _Key(Verb.RUN_NOW, "run now"), "P": _PAUSE, "D": _Key(Verb.REMOVE, "remove")},
    "job": {
        "C": _Key(Verb.CANCEL, "cancel"),
        "N": _Key(Verb.RUN_NOW, "run now"),
        "S": _Key(Verb.RESEND, "send again"),
        "M": _Key(Verb.MOVE, "move"),
        "T": _Key(Verb.STACKS, "stack"),
    },
    "letter": {
        "R": _Key(Verb.REPLAY, "replay"),
        "S": _Key(Verb.RESEND, "send again", "job"),
        "D": _Key(Verb.DISCARD, "delete"),
    },
    "graph": {"R": _Key(Verb.REPLAY, "replay"), "C": _Key(Verb.CANCEL, "cancel")},
    "limit": {"S": _Key(Verb.SET_LIMIT, "set"), "R": _Key(Verb.RESET_LIMIT, "reset")},
    "host": {
        "P": _Key(Verb.DRAIN, "drain"),
        "Y": _Key(Verb.RECYCLE, "recycle"),
        "T": _Key(Verb.STACKS, "stacks"),
    },
}
_BLANKS = {
    "pause queue": (_WHY,),
    "pause all": (_WHY,),
    "pause schedule": (_WHY,),
    "move job": (TO,),
    "pause task": (Blank("where", "Only where", "tenant == 'acme'"), _WHY),
    "drain host": (Blank("why", "Why", "for those who find it drained"),),
    "set_limit limit": (Blank("numbers", "Numbers", "max_running=3 rate=10/s"),),
}
#: Keys that act on all that a filter finds, by what the rows are.
BULK = {
    "job": {"C": Verb.CANCEL, "N": Verb.RUN_NOW, "S": Verb.RESEND, "M": Verb.MOVE},
    "letter": {"R": Verb.REPLAY, "S": Verb.RESEND, "D": Verb.DISCARD},
    "ended job": {"S": Verb.RESEND},
}
#: What the rows are in the lists in which all that match can be selected, and what they are called then.
_KIND_OF = {"jobs": "job", "running": "job", "dead": "letter", "history": "ended job"}
_WORDS = {"job": "unfinished jobs", "letter": "dead letters", "ended job": "jobs that have ended"}

#: The statuses of jobs to which a key does something; a key that is not here does it to every job.
_STATUSES = {
    "C": {Status.PENDING, Status.SCHEDULED, Status.WAITING, Status.RUNNING, Status.RETRYING, Status.PARKED},
    "M": {Status.PENDING, Status.SCHEDULED, Status.RETRYING, Status.PARKED},
    "N": {Status.SCHEDULED, Status.RETRYING},
    "T": {Status.RUNNING},
}


def kind_of(where: Where) -> str:
    """What the rows of a list are in which all that match can be selected; empty: in this one they cannot."""
    if where.name:
        return ""
    given = where.given
    is_ended = given.get("since") or given.get("until") or given.get("status", "").upper() in FINAL
    return "ended job" if where.view == "jobs" and is_ended else _KIND_OF.get(where.view, "")


def all_words(where: Where) -> str:
    """What all that match are called in a list in which they can be selected."""
    return "running jobs" if where.view == "running" else _WORDS[kind_of(where)]


def _keys(row: Row) -> dict[str, _Key]:
    found = _KEYS.get(row.kind, {})
    if row.kind != "job":
        return found
    return {key: act for key, act in found.items() if row.status in _STATUSES.get(key, {row.status})}


def keys_of(row: Row | None) -> dict[str, tuple[Verb, str]]:
    """The keys that act on a row, each with its verb and word."""
    if row is None:
        return {}
    acts = {key: _meant(act, row) for key, act in _keys(row).items()}
    return {key: (act.verb, act.word) for key, act in acts.items()}


def _meant(key: _Key, row: Row) -> _Key:
    """``P`` resumes what is paused or drained."""
    return _RESUME if key.verb in (Verb.PAUSE, Verb.DRAIN) and row.is_paused else key


def deed_of(key: str, row: Row, names: Sequence[str]) -> Deed | None:
    """What a key does to a row, or to all that are selected.

    Args:
        names: ids of the selected rows of the same kind; empty: the row alone.
    """
    found = _keys(row).get(key)
    if found is None:
        return None
    act = _meant(found, row)
    on = act.on or row.kind
    if row.kind == "letter" and act.verb is Verb.REPLAY and row.graph and len(names) < 2:
        # Letters of a graph run again with the whole of it.
        row, on, names = Row("graph", row.graph), "graph", ()
    ids = tuple(names) or (row.name,)
    by_id = row.kind in ("job", "letter") or (row.kind == "graph" and act.verb is Verb.CANCEL)
    given = [("id", each) for each in ids] if by_id else [("name", row.name)]
    typed = {Verb.PURGE: row.name, Verb.REMOVE: row.name, Verb.DISCARD: TYPED}.get(act.verb, "")
    about = f"{act.verb} {on}"
    return Deed(
        act.verb,
        f"{act.word.capitalize()} {_subject('hosts' if act.verb is Verb.STACKS else row.kind, ids)}",
        QUESTIONS.get(about, ""),
        (("on", "job" if row.kind == "graph" and by_id else on), *given),
        typed,
        _BLANKS.get(about, ()),
    )


def _subject(kind: str, ids: Sequence[str]) -> str:
    noun = {"letter": "dead letter", "all": "everything", "hosts": "of every host"}.get(kind, kind)
    if kind in ("all", "hosts"):
        return noun
    named = ", ".join(clean(id) for id in ids[:_NAMED])
    if len(ids) == 1:
        return f"{noun} {named}"
    return f"{count(len(ids))} {noun}s: {named}{', …' if len(ids) > _NAMED else ''}"


def bulk_deed(found: Mapping[str, object], fields: Mapping[str, str]) -> Deed:
    """The action on all that match, as ``ops.views.new_bulk`` has counted them."""
    verb = Verb(str(found["verb"]))
    more = " or more" if found["is_more"] else ""
    of_graphs = found["of_graphs"]
    others = f" {count(of_graphs)} others belong to graphs, which are replayed as a whole." if of_graphs else ""
    return Deed(
        verb,
        f"{str(found['word']).capitalize()} {found['subject']}",
        f"{count(found['number'])}{more} match now.{others} What comes later is not meant. It may be stopped on the "
        "way, and begun again without harm.",
        (("on", "filter"), *fields.items()),
        str(found["typed"]),
    )
