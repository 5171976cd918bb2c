"""The judge: what was sent, what ran and what came of it, each from its own witness, compared at the end.

Witnesses: the producers' logs (what was accepted, what every await brought), the ledger (what ran,
when), the store (outcomes by id), the history stream (one entry per outcome), and the kernel (deaths,
processes, file descriptors). Nothing here asks the engine whether it is well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiotask.brokers.redis.history import rows_of
from aiotask.errors import JobExpired, SealError, WorkerLost
from aiotask.job import Status
from aiotask.keeper.lease import LEASE
from aiotask.outcome import Outcome, decode_outcome

from .producer import ANYTHING, TOKEN, Sent, Within
from .report import Report, percentile
from .residue import left_behind, look_until_clean

if TYPE_CHECKING:
    from .arena import Arena
    from .ledger import Attempt, Ledger

__all__ = ["examine", "forgive_the_unlucky"]

#: Runs may touch by so much and do not overlap: the clock is read before the line is written.
_TOUCH = 0.0005
#: Seconds by which the end of a dead host's lease may differ from LEASE seconds after its death: the host renewed the
#: lease some time before it died, and the other hosts check leases at intervals.
_LEASE_MORE = 2.0
#: Seconds between the look at a job's time of expiry and the first line of its run, on a busy machine.
_BEGIN = 0.5
_PAGE = 1000


async def examine(
    arena: Arena,
    *,
    settle: float = 30.0,
    stop: bool = True,
    keys: Sequence[str] = (),
    undue: bool = False,
    keeps_values: bool = False,
    begin: float = _BEGIN,
) -> Report:
    """Everything that is to be known of a trial, once its faults are over and its awaits have ended.

    Args:
        settle: seconds that the arena gets until nothing is unfinished and nothing is left over.
        stop: ask every host to end (TERM) and look at what is left of it.
        keys: regular expressions of keys (without their prefix) that may be there besides the usual ones.
        undue: a run that follows no death is a finding too.
        keeps_values: outcomes may live for ever; the trial looks at them.
        begin: seconds that may pass between the look at a job's time of expiry and the first line of its run.
    """
    report = Report()
    for producer in arena.producers:
        await producer.done(timeout=settle)
    report.residue += await look_until_clean(arena, settle, keys, keeps_values=keeps_values)
    if stop:
        report.residue += await left_behind(arena)
    examination = _Examination(arena, report, begin)
    examination.count()
    examination.judge_jobs()
    examination.judge_runs(undue)
    examination.measure_recovery()
    report.history = examination.history
    return report


def forgive_the_unlucky(arena: Arena, report: Report) -> None:
    """A job that three processes died with is a dead letter by contract, however innocent."""
    runs = arena.ledger().by_job

    ids = [
        sent.id
        for producer in arena.producers
        for sent in producer.sent.values()
        if isinstance(sent.error, WorkerLost) and sum(map(arena.deaths.took, runs.get(sent.job, ()))) >= 3
    ]
    report.forgive("wrong", "three processes died with it, so it was given up", ids)


class _Examination:
    def __init__(self, arena: Arena, report: Report, begin: float) -> None:
        self.arena = arena
        self.begin = begin
        self.report = report
        self.ledger: Ledger = arena.ledger()
        self.sent: dict[str, Sent] = {id: sent for producer in arena.producers for id, sent in producer.sent.items()}
        self.history = self._history()
        self.stored = self._stored()

    # ---- witnesses

    def _opened(self, sealed: bytes) -> Outcome:
        return decode_outcome(self.arena.app.client.outcomes_sealer.open(sealed))

    def _history(self) -> dict[str, list[tuple[float, Outcome]]]:
        """Every outcome that was stored, with the server's time of it (Unix seconds)."""
        rows: dict[str, list[tuple[float, Outcome]]] = defaultdict(list)
        start = "-"
        key = f"{self.arena.prefix}history"
        while page := self.arena.server.call("XRANGE", key, start, "+", "COUNT", _PAGE // 10):
            for entry, fields in page:
                for row in rows_of(entry.decode(), [part for pair in fields.items() for part in pair]):
                    outcome = self._opened(row.outcome)
                    rows[outcome.id].append((int(entry.split(b"-")[0]) / 1000, outcome))
            start = f"({page[-1][0].decode()}"
        return rows

    def _stored(self) -> dict[str, Outcome]:
        """Outcomes by id."""
        found = {}
        ids = list({sent.job for sent in self.sent.values()} | self.sent.keys())
        for at in range(0, len(ids), _PAGE):
            part = ids[at : at + _PAGE]
            for id, sealed in zip(
                part, self.arena.server.call("MGET", *(f"{self.arena.prefix}r:{id}" for id in part)), strict=True
            ):
                if sealed is not None:
                    try:
                        found[id] = self._opened(sealed)
                    except SealError as error:
                        self.report.wrong.append(f"{id} what is stored as its outcome is none: {error}")
        return found

    # ---- counting

    def count(self) -> None:
        report = self.report
        report.jobs = len(self.sent)
        for producer in self.arena.producers:
            report.accepted += producer.count("accepted")
            report.refused += producer.count("refused")
            report.ambiguous += producer.count("ambiguous")
            report.stuck += [f"{sent.id} {sent.task} ({sent.verdict or 'on its way'})" for sent in producer.stuck]
        report.runs = len(self.ledger.attempts)
        lags = self.arena.lags
        report.facts["lag of the caller's loop (s)"] = (
            f"p99 {percentile(lags, 0.99):.3f}, max {max(lags, default=0):.3f}"
        )
        if fleeting := [sent for sent in self.sent.values() if isinstance(sent.expect, Within)]:
            expired = sum(isinstance(sent.error, JobExpired) for sent in fleeting)
            report.facts["jobs with a time of expiry"] = f"{len(fleeting):,}, of which {expired:,} expired"
        report.faults.update(fault.kind for fault in self.arena.faults)
        for sent in self.sent.values():
            rows = self.history.get(sent.job)
            if sent.outcome is not None and rows:
                report.told.append(max(0.0, sent.ended_wall - rows[0][0]))

    # ---- jobs

    def judge_jobs(self) -> None:
        for sent in self.sent.values():
            self._judge_job(sent)
        for id in self.ledger.by_job.keys() - self.sent.keys():
            self.report.phantom.append(f"{id} ran and was never sent")
        for id in self.history.keys() - self.sent.keys():
            self.report.phantom.append(f"{id} has an outcome and was never sent")

    def _judge_job(self, sent: Sent) -> None:
        report = self.report
        rows = [outcome for _, outcome in self.history.get(sent.job, ())]
        runs = self.ledger.by_job.get(sent.job, [])
        if sent.verdict == "refused" and (runs or rows):
            report.phantom.append(f"{sent.id} {sent.task} was refused ({sent.error!r}) and ran all the same")
        outcomes = {
            _mark(outcome) for outcome in (*rows, self.stored.get(sent.job), sent.outcome) if outcome is not None
        }
        if len(outcomes) > 1 or len(rows) > 1:
            report.doubled.append(f"{sent.id} {sent.task}: {len(rows)} history rows, outcomes {sorted(outcomes)}")
        if sent.verdict != "accepted":
            return
        if not outcomes:
            report.lost.append(f"{sent.id} {sent.task}: {_seen(runs)}, no outcome")
        elif fault := self._fault_of(sent, runs, rows):
            report.wrong.append(f"{sent.id} {sent.task}: {fault}")

    def _fault_of(self, sent: Sent, runs: list[Attempt], rows: list[Outcome]) -> str:
        """What is wrong with how an accepted job ended; empty: nothing."""
        if sent.expect is ANYTHING or (sent.awaited and not sent.ended_at):
            return ""
        if isinstance(sent.expect, type):
            if sent.awaited:
                return "" if isinstance(sent.error, sent.expect) else f"ended with {sent.error or sent.value!r}"
            last = rows[-1] if rows else self.stored[sent.job]
            name = last.error.type if last.error is not None else str(last.status)
            return "" if name.rpartition(".")[2] == sent.expect.__name__ else f"ended with {name}"
        expects_token = sent.expect is TOKEN
        if isinstance(sent.expect, Within):
            if fault := _fault_of_time(sent, sent.expect.seconds, runs, self.begin):
                return fault
            if isinstance(sent.error, JobExpired):
                return ""
            expects_token = True
        if sent.error is not None:
            return f"ended with {sent.error!r}"
        if not sent.awaited:
            last = rows[-1] if rows else self.stored[sent.job]
            good = any(run.outcome == "ok" for run in runs)
            return "" if last.status is Status.SUCCESS and good else f"ended as {last.status}, {_seen(runs)}"
        if expects_token:
            token = sent.value[0] if isinstance(sent.value, tuple) else sent.value
            known = any(run.token == token and run.outcome == "ok" for run in runs)
            return "" if known else f"its value {token!r} is of no run of it that ended well ({_seen(runs)})"
        return "" if sent.value == sent.expect else f"brought {sent.value!r}, not {sent.expect!r}"

    # ---- runs

    def _end_of(self, run: Attempt) -> float:
        """When a run was over; for ever if its process lives."""
        if run.end is not None:
            return run.end
        died = self.arena.deaths.before(run.pid, run.start)
        return float("inf") if died is None else died

    def _explains(self, run: Attempt, next: Attempt) -> bool:
        """Whether there had to be another run: it was to be repeated, or its process died before the end was said."""
        # Where a death was noticed late, what counts is the earliest moment at which it may have been.
        known = self.arena.deaths.of(run.pid, run.start) is not None
        died = self.arena.deaths.before(run.pid, run.start) if known else None
        return run.end is None or run.outcome in ("Retry", "PlannedError") or (died or next.start) < next.start

    def judge_runs(self, undue: bool) -> None:
        for id, runs in self.ledger.by_job.items():
            for one, other in pairwise(sorted(runs, key=self._end_of)):
                late, early = max(one.start, other.start), min(self._end_of(one), self._end_of(other))
                if late < early - _TOUCH:
                    self.report.overlap.append(
                        f"{id} {one.task}: pid {one.pid} and pid {other.pid} at once for {early - late:.3f} s"
                    )
            self.report.extra_runs += len(runs) - 1
            if not all(self._explains(one, next) for one, next in pairwise(runs)):
                self.report.undue_runs.append(f"{id} {runs[0].task}: {_seen(runs)}")
        if undue:
            count = len(self.report.undue_runs)
            self.report.require(not count, f"{count} jobs ran again without a death: {self.report.undue_runs[:3]}")

    # ---- recovery

    def measure_recovery(self) -> None:
        """From each fault to the next start of a job that ran in what it killed: of the first one, and of every one."""
        faults = defaultdict(list)
        for fault in self.arena.faults:
            for pid in fault.pids:
                faults[pid].append(fault)
        firsts: dict[tuple[str, float], float] = {}
        for runs in self.ledger.by_job.values():
            for run, after in pairwise(runs):
                died = None if run.end is not None else self.arena.deaths.of(run.pid, run.start)
                if died is None or after.start < self._end_of(run):
                    continue
                causes = [fault for fault in faults.get(run.pid, ()) if fault.at <= died + _TOUCH]
                kind, at = (causes[-1].kind, causes[-1].at) if causes else ("process", died)
                # A host that was killed since then has had the job in hand, as one that it was to give back or has
                # claimed, if the job started again as the lease of that host ran out.
                for fault in self.arena.faults:
                    if fault.kind == "host" and at < fault.at and abs(after.start - fault.at - LEASE) <= _LEASE_MORE:
                        kind, at = fault.kind, fault.at
                took = max(0.0, after.start - at)
                self.report.restarts.setdefault(kind, []).append(took)
                firsts[kind, at] = min(took, firsts.get((kind, at), took))
        for (kind, _), took in firsts.items():
            self.report.recovery.setdefault(kind, []).append(took)


def _fault_of_time(sent: Sent, seconds: float, runs: list[Attempt], begin: float) -> str:
    """What is wrong with when a job that expires ran, or expired."""
    # The seconds count from the acceptance, which the producer hears of a moment later.
    late = max((run.start - (sent.accepted_at or sent.at) - seconds for run in runs), default=0.0)
    if late > begin:
        return f"began {late:.2f} s after it had expired"
    if isinstance(sent.error, JobExpired) and (early := sent.at + seconds - sent.ended_at) > _TOUCH:
        return f"expired {early:.3f} s early"
    return ""


def _mark(outcome: Outcome) -> tuple[Any, ...]:
    """What tells two outcomes of one job apart."""
    return str(outcome.status), outcome.worker, outcome.attempt, outcome.finished_at


def _seen(runs: list[Attempt]) -> str:
    said = [f"pid {run.pid} {run.outcome or 'no end'}" for run in runs]
    return f"{len(runs)} runs ({', '.join(said[:6])})" if runs else "no run"
