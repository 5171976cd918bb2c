"""Actions: the one object through which people act, whatever face they look at.

A verb is one permission and one line of the audit, which is written when the verb has ended, however that was. What
is done to many things has a line when it begins, too.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ..brokers.pauses import Pause
from ..client.schedules import Timetable
from ..errors import AiotaskError
from ..inspector import JobFilter
from ..settings import check_name
from . import ask, cancel, graphs, letters, limits, pauses, schedules
from .action_words import NAMED, filter_words, letter_words, many_words
from .audit import BEGUN, DONE, FAILED, REFUSED, STOPPED, AuditLine, note
from .bulk import Action, Bulk, Done, move_ids, resend_ids, run_ids_now
from .connection import Connection, Place, inspectors
from .ended import OfHistory
from .refusals import Refusals
from .visitors import NotAllowed, Verb, Visitor

__all__ = ["LETTER_PERMISSIONS", "PERMISSIONS", "Actions", "Letters", "Matching"]

#: The permission of each bulk action.
PERMISSIONS = {
    Action.CANCEL: Verb.CANCEL,
    Action.PURGE: Verb.PURGE,
    Action.RUN_NOW: Verb.RUN_NOW,
    Action.RESEND: Verb.RESEND,
    Action.MOVE: Verb.MOVE,
}
#: The permission of each verb of dead letters.
LETTER_PERMISSIONS: dict[letters.Verb, Verb] = {"replay": Verb.REPLAY, "delete": Verb.DISCARD}


@dataclass
class _Act:
    """A verb that is being done: where, and with how many things of each app so far."""

    place: Place
    opened: Sequence[Connection]
    counts: Counter[str] = field(default_factory=Counter)
    said: str = ""
    #: Whether it may take long, so that a line tells of its beginning.
    is_bulk: bool = False

    def count(self, found: Sequence[Mapping[str, Any]], is_done: Callable[[Mapping[str, Any]], bool]) -> None:
        """Count what became of ids: a mapping each, with the name of the app in ``app``."""
        self.counts.update(each["app"] for each in found if is_done(each))
        skipped = [each for each in found if not is_done(each)]
        if skipped:
            self.said = f"{len(skipped):,} skipped; the first one: {skipped[0].get('said', 'unknown')}"

    def concerned(self) -> list[Connection]:
        """The apps in which something was done; every app that was asked, if nothing was."""
        return [each for each in self.opened if self.counts[each.name]] or list(self.opened)


class Actions:
    """What one visitor can do with the apps at one place.

    Every verb raises ``NotAllowed`` if the visitor may not do it, and else what the function of ``ops`` raises.

    Args:
        refusals: those of the face through which the visitor acts.
    """

    def __init__(self, place: Place, visitor: Visitor, refusals: Refusals | None = None) -> None:
        self.place = place
        self.visitor = visitor
        self._refusals = refusals or Refusals()

    def may(self, verb: Verb) -> bool:
        return verb in self.visitor.may

    # ---- queues, tasks, everything

    async def pause(self, pause: Pause) -> pauses.Change:
        """Begin a pause, in the name of the visitor."""
        async with self._act(Verb.PAUSE, pause.what) as act:
            named = msgspec.structs.replace(pause, by=self.visitor.name[:100])
            change = await pauses.change(act.place, named, resume=False)
            act.counts[change.app] += 1
            act.said = pause.why
            return change

    async def resume(self, pause: Pause) -> pauses.Change:
        async with self._act(Verb.RESUME, pause.what) as act:
            change = await pauses.change(act.place, pause, resume=True)
            act.counts[change.app] += change.done
            act.said = "" if change.done else "it was not paused"
            return change

    # ---- jobs by their ids

    async def cancel(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Cancel jobs and graphs."""
        async with self._act(Verb.CANCEL, many_words(ids, "job"), len(ids)) as act:
            found = await cancel.cancel_all(list(ids), act.place)
            act.count(found, lambda each: each["status"] in ("CANCELLED", "RUNNING"))
            return found

    async def run_now(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        async with self._act(Verb.RUN_NOW, many_words(ids, "job"), len(ids)) as act:
            found = await run_ids_now(ids, act.place)
            act.count(found, lambda each: each["did"] == "done")
            return found

    async def resend(self, ids: Sequence[str], db: str | None) -> list[dict[str, Any]]:
        """Args:
        db: the history file, which is searched too; None: as everywhere.
        """
        async with self._act(Verb.RESEND, many_words(ids, "job"), len(ids)) as act:
            found = await resend_ids(ids, act.place, db)
            act.count(found, lambda each: each["did"] == "done")
            return found

    async def move(self, ids: Sequence[str], to: str) -> list[dict[str, Any]]:
        """Put jobs into another queue, under their ids."""
        check_name(to, "a queue")
        subject = f"{many_words(ids, 'job')} to queue {to}"
        async with self._act(Verb.MOVE, subject, len(ids)) as act:
            found = await move_ids(ids, to, act.place)
            act.count(found, lambda each: each["did"] == "done")
            return found

    async def move_letters(self, verb: letters.Verb, ids: Sequence[str]) -> letters.Done:
        """Replay or delete dead letters."""
        async with self._act(LETTER_PERMISSIONS[verb], many_words(ids, "dead letter"), len(ids)) as act:
            done = await letters.move_ids(verb, list(act.opened), list(ids))
            act.counts.update(done.by_app)
            left = len(ids) - len(done.moved)
            act.said = f"{left:,} skipped" if left else ""
            return done

    async def replay_graph(self, id: str) -> dict[str, Any]:
        async with self._act(Verb.REPLAY, f"graph {id}") as act:
            done = await graphs.replay(id, act.place)
            act.counts[done["app"]] += done["replayed"]
            act.said = done["refused"]
            return done

    # ---- what a filter finds

    @asynccontextmanager
    async def matching(
        self, action: Action, wanted: JobFilter, to: str = "", error: str = "", of_history: OfHistory | None = None
    ) -> AsyncIterator[Matching]:
        """A bulk action on the jobs that match: count them, then run it.

        Args:
            to: the queue to which they are moved.
            error: text that stands in the error of a job that is sent again.
            of_history: the jobs of the history that are sent again; None: dead letters are.
        """
        if action is Action.MOVE:
            check_name(to, "a queue")
        is_of_letters = action is Action.RESEND and of_history is None
        words = filter_words(wanted, error, of_history=of_history, is_of_letters=is_of_letters)
        subject = f"{words}{f' to queue {to}' if to else ''}"
        async with self._checked(PERMISSIONS[action], subject) as opened:
            yield Matching(
                self, PERMISSIONS[action], subject, Bulk(action, wanted, opened, to, error, of_history), opened
            )

    @asynccontextmanager
    async def letters(self, verb: letters.Verb, wanted: letters.Filter) -> AsyncIterator[Letters]:
        """Dead letters that match: count them, then replay or delete them."""
        subject = letter_words(wanted)
        async with self._checked(LETTER_PERMISSIONS[verb], subject) as opened:
            picked, of_graphs = await letters.pick(verb, opened, wanted)
            yield Letters(self, verb, subject, opened, picked, of_graphs)

    # ---- schedules, limits, hosts

    async def pause_schedule(self, name: str, why: str = "") -> dict[str, Any]:
        """Pause a schedule, in the name of the visitor; as it is then."""
        pause = functools.partial(Timetable.pause, by=self.visitor.name, why=why)
        async with self._act(Verb.PAUSE, f"schedule {name}") as act:
            found = await schedules.steer(act.place, name, pause)
            act.counts[found["app"]] += 1
            act.said = why
            return found

    async def steer_schedule(self, verb: Verb, name: str) -> dict[str, Any]:
        """Resume or remove a schedule; as it is then."""
        step = {Verb.RESUME: Timetable.resume, Verb.REMOVE: Timetable.remove}[verb]
        async with self._act(verb, f"schedule {name}") as act:
            found = await schedules.steer(act.place, name, step)
            act.counts[found["app"]] += 1
            return found

    async def run_schedule(self, name: str) -> dict[str, Any]:
        """Send the job of a schedule now."""
        async with self._act(Verb.RUN_NOW, f"schedule {name}") as act:
            found = await schedules.run_now(act.place, name)
            act.counts[found["app"]] += 1
            act.said = f"sent as {found['id']}"
            return found

    async def set_limit(self, name: str, numbers: dict[str, float]) -> dict[str, Any]:
        async with self._act(Verb.SET_LIMIT, f"limit {name}") as act:
            found = await limits.set_limit(act.place, name, numbers)
            act.counts[found["app"]] += 1
            act.said = ", ".join(f"{key}={limits.number_text(key, value)}" for key, value in numbers.items())
            return found

    async def reset_limit(self, name: str) -> dict[str, Any]:
        async with self._act(Verb.RESET_LIMIT, f"limit {name}") as act:
            found = await limits.reset_limit(act.place, name)
            act.counts[found["app"]] += 1
            return found

    async def stacks(self) -> ask.Answers:
        """Ask every host for the stacks of its processes."""
        async with self._act(Verb.STACKS, "every host") as act:
            answers = await ask.ask_hosts(act.place)
            act.counts.update(each.name for each in act.opened for _ in range(sum(map(bool, answers.values()))))
            return answers

    async def steer_hosts(self, verb: Verb, names: Sequence[str], why: str = "") -> list[dict[str, Any]]:
        """Drain, resume or recycle hosts: what became of it on each. A name may be cut where it stays clear."""
        async with self._act(verb, many_words(names, "host")) as act:
            hosts = [host for name in names for host in await ask.live_hosts(act.place, name)]
            found = await ask.steer_hosts(hosts, verb, self.visitor.name, why)
            act.said = why
            act.count(found, lambda each: each["did"] == "done")
            return found

    # ---- the permission and the line

    async def refuse(self, verb: Verb, subject: str) -> NotAllowed:
        """The error for a verb that the visitor may not do, with its line."""
        error, visitor = NotAllowed(self.visitor, verb), self.visitor
        line = self._refusals.admit(AuditLine(visitor.name, visitor.source, verb, subject, 0, REFUSED))
        if line is not None:
            async with inspectors(self.place) as opened:
                await note(opened, line)
        return error

    @asynccontextmanager
    async def _checked(self, verb: Verb, subject: str) -> AsyncIterator[list[Connection]]:
        if not self.may(verb):
            raise await self.refuse(verb, subject)
        async with inspectors(self.place) as opened:
            yield opened

    @asynccontextmanager
    async def _act(self, verb: Verb, subject: str, number: int = 1) -> AsyncIterator[_Act]:
        async with self._checked(verb, subject) as opened:
            # An opened place without apps would be opened again.
            place = replace(self.place, opened=tuple(opened)) if opened else self.place
            act = _Act(place, opened, is_bulk=number > NAMED)
            async with self.audited(verb, subject, act):
                yield act

    @asynccontextmanager
    async def audited(self, verb: Verb, subject: str, act: _Act) -> AsyncIterator[None]:
        """Write the line of this verb when the block ends, however it ends; in bulk, one before the block, too."""
        ended, said = DONE, ""
        action = secrets.token_hex(4) if act.is_bulk else ""
        if action:
            await self._note(act.opened, verb, subject, 0, BEGUN, "", action)
        try:
            yield
        except asyncio.CancelledError:
            ended = STOPPED
            raise
        except AiotaskError as error:
            ended, said = FAILED, str(error)
            raise
        except Exception as error:
            ended, said = FAILED, f"{type(error).__name__}: {error}"
            raise
        finally:
            # A task that is being cancelled may await here: it is cancelled once.
            for each in act.concerned():
                await self._note([each], verb, subject, act.counts[each.name], ended, said or act.said, action)

    async def _note(
        self, opened: Sequence[Connection], verb: Verb, subject: str, number: int, ended: str, said: str, action: str
    ) -> None:
        visitor = self.visitor
        await note(opened, AuditLine(visitor.name, visitor.source, verb, subject, number, ended, said, action))


class Matching:
    """A bulk action on jobs that match a filter, of a visitor who may do it."""

    def __init__(self, actions: Actions, verb: Verb, subject: str, bulk: Bulk, opened: Sequence[Connection]) -> None:
        self._actions = actions
        self._verb = verb
        self.subject = subject
        self.opened = opened
        self._bulk = bulk

    async def count(self) -> int:
        """The number of jobs that match now; it stops at ``MOST_COUNTED``."""
        return await self._bulk.count()

    async def run(self, done: Done, progress: Callable[[int], None]) -> None:
        """Do it; ``done`` says what has become of the jobs, also where this is interrupted."""
        act = _Act(self._actions.place, self.opened, is_bulk=True)
        async with self._actions.audited(self._verb, self.subject, act):
            try:
                await self._bulk.run(done, progress)
            finally:
                act.counts.update(self._bulk.by_app)
                skipped = done.skipped.total()
                act.said = f"{skipped:,} skipped" if skipped else ""


class Letters:
    """Dead letters that match a filter, and a visitor who may move them."""

    def __init__(
        self,
        actions: Actions,
        verb: letters.Verb,
        subject: str,
        opened: Sequence[Connection],
        picked: list[letters.Picked],
        of_graphs: dict[str, str],
    ) -> None:
        self._actions = actions
        self._verb = verb
        self.subject = subject
        self._picked = picked
        self.opened = opened
        self.of_graphs = of_graphs

    def count(self) -> int:
        return sum(len(found) for _, found in self._picked)

    async def run(self, done: letters.Done, progress: Callable[[int], None]) -> None:
        """Move them; ``done`` says what has become of each, also where this is interrupted."""
        act = _Act(self._actions.place, self.opened, is_bulk=True)
        done.of_graphs |= self.of_graphs
        async with self._actions.audited(LETTER_PERMISSIONS[self._verb], self.subject, act):
            try:
                await letters.move_picked(self._verb, self._picked, progress, done)
            finally:
                act.counts.update(done.by_app)
