"""How many jobs a worker claims so that batches fill, and the slots of their items: tables, without a broker."""

from __future__ import annotations

import pytest

from aiotask.broker import BATCH_JOBS, Delivery
from aiotask.functions.batches import Batching
from aiotask.job import WIRE_VERSION, Job, Meta
from aiotask.tasks.task import Definition, Registry
from aiotask.worker.batches import Batches
from aiotask.worker.run import NoBoard, Run
from aiotask.worker.seats import AWAY, Seats


def nothing() -> None:
    """The function of the tasks."""


def batches(seats: Seats | None = None, *, size: int = 64, plain: int = 0) -> Batches:
    """The batches of a worker with one batch task and so many plain ones."""
    registry = Registry()
    registry.add(task(size))
    for number in range(plain):
        registry.add(Definition(f"plain {number}", nothing, False, nothing))
    return Batches(registry, seats or Seats(10), NoBoard())


def task(size: int) -> Definition:
    return Definition("many", nothing, False, nothing, batch=Batching(size, 600, nothing, nothing), goes_apart=True)


def run(number: int, size: int = 64, *, suspect: bool = False) -> Run:
    job = Job(WIRE_VERSION, str(number), "many", "default", b"")
    return Run(Delivery("lane", str(number), str(number), b"", Meta(), suspect=suspect), job, task(size), "worker")


async def test_a_worker_of_batches_alone_claims_what_fills_them() -> None:
    made = batches()
    made.put(run(0))
    made.share = 0.999

    # A thread is free, and the jobs take longer than is claimed ahead.
    assert made.room(1, 0, stuck=False) == 63
    # There is room for two calls beside the one that is being gathered.
    assert made.room(3, 2, stuck=False) == 63 + 128
    assert made.room(6, 5, stuck=False) == BATCH_JOBS
    made.take_back()


async def test_no_more_of_the_other_jobs_are_claimed_than_there_is_room_for() -> None:
    made = batches(plain=1)
    made.put(run(0))

    # Half of what comes is plain.
    assert made.share == 0.5
    assert made.room(1, 0, stuck=False) == 2
    assert made.room(20, 19, stuck=False) == 40
    assert made.room(0, 0, stuck=False) == 0
    made.take_back()


async def test_batches_need_not_fill_while_the_threads_are_busy_for_long() -> None:
    made = batches(plain=1)
    made.put(run(0))

    assert made.room(20, 0, stuck=True) == 1
    made.take_back()


@pytest.mark.parametrize(("claims", "share"), [([(10, 10)] * 20, 0.999), ([(10, 0)] * 200, 0), ([], 0.5)])
async def test_the_share_follows_what_claims_bring(claims: list[tuple[int, int]], share: float) -> None:
    made = batches(plain=1, size=1000)
    for jobs, gathered in claims:
        for number in range(gathered):
            made.put(run(number, 1000))
        made.weigh(jobs)

    assert made.share == share
    made.take_back()


async def test_the_share_is_none_once_next_to_no_job_is_in_a_batch_and_begins_anew_with_the_next_one() -> None:
    made = batches(plain=1)
    made.put(run(0))
    for _ in range(200):
        made.weigh(10)
    assert made.gathers
    # A job waits for the rest of its batch: 63 more have room, and next to none of those that come go into it.
    assert made.share > 0
    assert made.room(5, 4, stuck=False) == 5

    made.take_back()
    made.weigh(10)
    assert made.share == 0

    made.put(run(1))
    assert made.share > 0
    assert made.room(5, 4, stuck=False) == 5
    made.weigh(1)
    assert made.share > 0.09
    made.take_back()


async def test_a_full_list_is_a_call_and_a_suspect_is_one_of_its_own() -> None:
    made = batches(size=3)

    assert made.put(run(0, 3)) is made.put(run(1, 3)) is None
    alone = made.put(run(9, 3, suspect=True))
    full = made.put(run(2, 3))

    assert alone is not None and [item.job.id for item in alone.items] == ["9"]
    assert full is not None and [item.job.id for item in full.items] == ["0", "1", "2"]
    assert made.calls(is_async=False) == 0


async def test_each_item_has_a_slot_and_every_seat_keeps_one() -> None:
    seats = Seats(10)
    made = batches(seats, size=6)
    seats.take_slots(AWAY - 3)

    complete = [made.put(run(number, 6)) for number in range(6)][-1]

    # Three slots were left beside those of the seats, and the first item has that of the call.
    assert complete is not None and [item.job.id for item in complete.items] == ["0", "1", "2", "3"]
    assert len({item.slot for item in complete.items[1:]}) == 3
    assert made.calls(is_async=False) == 1
    assert [each.job.id for each in made.take_back()] == ["4", "5"]
    made.dissolve(complete)
    assert len(seats.take_slots(AWAY)) == 3
