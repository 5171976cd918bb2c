"""How many parked jobs and dead letters belong to each queue, which the server counts in all."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from msgspec.structs import replace

from ...errors import SealError
from ...inspector import JobFilter, JobInfo, LetterFacts, LetterPlace, Page, QueueInfo, Stats
from ...job import Status, decode_job
from ...wire.seal import OVERHEAD

__all__ = ["with_shares"]

#: Dead letters and parked jobs that are looked at, and parked jobs of one page, which come with their arguments.
_LETTERS, _PARKED, _PAGE = 2_000, 500, 100


class _View(Protocol):
    async def page(
        self, wanted: JobFilter = ..., after: str = "", limit: int = 50, *, newest: bool = False
    ) -> Page: ...
    async def letters(self, after: LetterPlace | None = None, limit: int = 50) -> list[LetterFacts]: ...


async def with_shares(view: _View, stats: Stats) -> list[QueueInfo]:
    """The queues with their parked jobs and dead letters, by name.

    Where there are more than are looked at, each queue gets its share, as an estimate.
    """
    parked = await _parked(view) if stats.parked else Counter[str]()
    dead = Counter(each.queue for each in await view.letters(limit=_LETTERS)) if stats.dead else Counter[str]()
    queues = {info.name: info for info in stats.queues}
    for name in filter(None, (*parked, *dead)):
        queues.setdefault(name, QueueInfo(name))
    for counts, total, field in ((parked, stats.parked, "parked"), (dead, stats.dead, "dead")):
        looked = counts.total()
        for name in counts.keys() & queues.keys():
            info, count = queues[name], counts[name]
            if total > looked:
                count, info = round(total * count / looked), replace(info, estimates=(*info.estimates, field))
            queues[name] = replace(info, **{field: count})
    return [queues[name] for name in sorted(queues)]


async def _parked(view: _View) -> Counter[str]:
    found, after = Counter[str](), ""
    while found.total() < _PARKED:
        page = await view.page(JobFilter(Status.PARKED), after, _PAGE)
        found.update(map(_queue_of, page.jobs))
        after = page.after
        if not after:
            break
    return found


def _queue_of(info: JobInfo) -> str:
    """The queue in an envelope whose seal is not checked; empty: it is none."""
    try:
        return decode_job((info.sealed or b"")[OVERHEAD:]).queue
    except SealError:
        return ""
