"""G1, G2, G12, G14-G17, G19: calls that take the values of calls, with real worker processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aiotask import App, JobCancelled, JobTimeout, Status, WorkerLost, chain, group

from ...helpers import wait_until_async
from ..stage import Put, Stage


def labels(stage: Stage) -> Counter[Any]:
    return Counter(run.label for run in stage.ledger.runs())


@pytest.mark.parametrize("processes", [1, 4])
async def test_g1_a_call_takes_the_values_of_others_and_each_runs_once(stage: Put, processes: int) -> None:
    composed = stage("composed")
    composed.start(processes)
    shared = composed.add.s(1, 2)

    assert await composed.mul.s(shared.cast, composed.add.s(3, 4).cast).apply_async() == 21
    assert labels(composed) == {"add": 2, "mul": 1}

    shared = composed.add.s(1, 2)
    again = composed.total.s([shared.cast, shared.cast, composed.mul.s(shared.cast, shared.cast).cast])
    assert await again.apply_async() == 15
    assert composed.ledger.counts()[shared.id] == 1 and max(composed.ledger.counts().values()) == 1
    await composed.app.client.close()


@pytest.mark.parametrize("serializer", ["cloudpickle", "json"])
async def test_g2_values_arrive_wherever_they_were_put(
    stage: Put, serializer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SERIALIZER", serializer)
    composed = stage("composed")
    composed.workers.start(composed.name, concurrency=1, env={**composed.env, "TEST_SERIALIZER": serializer})
    one, two = composed.add.s(1), composed.add.s(2)
    page = composed.Page("u", {"a": one.cast, "null": 0})

    found = await composed.counted.s(
        page, composed.Point(two.cast, 5), more={"deep": [one.cast, two.cast, 10]}
    ).apply_async()

    assert found == composed.Page("u", {"a": 1, "null": 0, "x": 2, "y": 5, "more": 13})
    assert await composed.square.map([1, 2, 3], chunk=2) == [1, 4, 9]
    assert await composed.shown.s([composed.add.s(3).settled, composed.square.s(13).settled]).apply_async() == [
        "3",
        "ValueError('thirteen')",
    ]
    await composed.app.client.close()


async def test_g12_a_report_takes_values_and_errors_in_their_order(composed: Stage) -> None:
    calls = [composed.add.s(n) if n % 2 else composed.square.s(13) for n in range(6)]

    values = await composed.shown.s([call.settled for call in calls]).apply_async()

    assert values == ["ValueError('thirteen')", "1", "ValueError('thirteen')", "3", "ValueError('thirteen')", "5"]


@pytest.mark.parametrize("length", [3, 300])
async def test_g14_a_chain_hands_each_value_on(composed: Stage, length: int) -> None:
    call = composed.add.s(0, 1)
    for _ in range(length - 1):
        call = call.then(composed.add, 1)

    assert await call.apply_async() == length
    assert labels(composed) == {"add": length}


async def test_g14_none_is_a_value_that_is_handed_on(composed: Stage) -> None:
    assert await chain(composed.nothing.s(), composed.after_nothing).apply_async() == "after None"


async def test_g14_a_chain_of_ten_thousand_is_sent_and_cancelled(composed: Stage) -> None:
    call = composed.waits.s(0)
    for _ in range(9_999):
        call = call.then(composed.add)
    result = call.apply_async()
    await result.sent()
    await wait_until_async(lambda: labels(composed)["waits"] == 1, description="the first link runs")

    await result.cancel()

    with pytest.raises(JobCancelled):
        await result.wait(60)
    assert labels(composed)["add"] == 0


async def test_g15_groups_keep_their_order(composed: Stage) -> None:
    members = group(composed.slowly.s(n) for n in range(40))
    assert await members.apply_async() == list(range(40))
    assert await group([composed.slowly.s(1)]).apply_async() == [1]
    assert await group(()).apply_async() == []
    assert await composed.total.s(group(()).cast, 4).apply_async() == 4
    assert await group(composed.add.s(n) for n in range(30)).then(composed.total).apply_async() == 435
    nested = group([group([composed.add.s(1), composed.add.s(2)]), group([composed.add.s(3)])])
    assert await nested.apply_async() == [[1, 2], [3]]


async def test_g15_the_first_error_of_a_group_is_raised_while_others_run(composed: Stage) -> None:
    result = group(composed.waits.s(1), composed.square.s(13)).apply_async()

    with pytest.raises(ValueError, match="thirteen"):
        await result
    await result.cancel()


@pytest.mark.parametrize("name", ["square", "asquare"])
@pytest.mark.parametrize("count", [0, 1, 1_000])
async def test_g16_map_returns_the_values_in_order(composed: Stage, name: str, count: int) -> None:
    task = getattr(composed, name)
    items = [n for n in range(count + 1) if n != 13][:count]
    wanted = [n * n for n in items]

    assert await task.map(items) == wanted
    assert await task.map(items, chunk=7) == wanted


@pytest.mark.parametrize("name", ["square", "asquare"])
async def test_g16_a_failure_names_the_item(composed: Stage, name: str) -> None:
    task = getattr(composed, name)
    result = task.map([1, 2, 13, 4], chunk=3)

    with pytest.raises(ValueError, match="thirteen") as caught:
        await result
    assert "2" in "".join(caught.value.__notes__)
    assert await result.members[1] == [16]
    with pytest.raises(ValueError, match="thirteen"):
        await task.map([13])


async def test_g17_follow_ups_run_once_after_the_last_retry(composed: Stage) -> None:
    good = composed.add.s(1, 2).on_success(composed.told, "success").on_error(composed.told, "error")
    bad = composed.boom.s("x").on_success(composed.told, "success").on_error(composed.told, "error")

    assert await good.apply_async() == 3
    with pytest.raises(KeyError):
        await bad.apply_async()

    await wait_until_async(
        lambda: {"success: int", "error: KeyError"} <= set(labels(composed)), description="both were told"
    )
    assert labels(composed) == {"add": 1, "boom": 3, "success: int": 1, "error: KeyError": 1}
    assert all(run.end is not None for run in composed.ledger.runs("boom"))
    told = composed.ledger.runs("error: KeyError")[0]
    assert told.start > max(run.end or 0.0 for run in composed.ledger.runs("boom"))


async def test_g17_follow_ups_hear_of_what_killed_the_job(composed: Stage) -> None:
    with pytest.raises(WorkerLost):
        await composed.dies.s().on_error(composed.told, "died").apply_async()
    with pytest.raises(JobTimeout):
        await composed.hangs.s().on_error(composed.told, "hung").apply_async()

    await wait_until_async(
        lambda: {"died: WorkerLost", "hung: JobTimeout"} <= set(labels(composed)), description="both were told"
    )


async def test_g17_what_nobody_wants_leaves_nothing(composed: Stage) -> None:
    unwanted = composed.add.s(1).on_success(composed.told, "success").on_error(composed.told, "error")
    cancelled = composed.waits.s(1).on_error(composed.told, "cancelled")
    await unwanted.apply_async()
    result = cancelled.apply_async()
    await wait_until_async(lambda: labels(composed)["waits"] == 1, description="it runs")

    await composed.app.result(result.id).cancel()

    with pytest.raises(JobCancelled):
        await result
    await wait_until_async(lambda: labels(composed)["success: int"] == 1, description="the wanted one has run")
    graph = await composed.app.graph(unwanted.id)
    assert [node.task.rpartition(":")[2] for node in graph.nodes if node.status != "SUCCESS"] == []
    # Something that runs after whatever the cancelled job might have set off.
    assert await composed.add.apply_async(1) == 1
    assert not [label for label in labels(composed) if str(label).startswith(("error", "cancelled"))]


async def test_g19_a_job_lists_what_all_of_its_runs_have_sent(composed: Stage) -> None:
    result = composed.sender.apply_async()
    assert await result == [5, 7]

    async def listed() -> list[Any]:
        children = await composed.app.result(result.id).children()
        return children if len(children) == 10 else []

    children = await wait_until_async(listed, description="all of them are listed")
    assert len({child.id for child in children}) == 10
    assert Counter([await child for child in children]) == {0: 2, 1: 2, 2: 2, 5: 2, 7: 2}
    assert await composed.app.result(children[0].id).children() == []


async def test_g19_a_thousand_children_are_kept(composed: Stage) -> None:
    result = composed.prolific.apply_async(1_001)
    await result

    async def newest() -> str:
        children = await result.children()
        return children[-1].id if len(children) == 1_000 else ""

    last = await wait_until_async(newest, description="a thousand of them are listed")
    assert await composed.app.result(last) == 1_000


async def test_a_task_is_called_by_its_name_with_options(composed: Stage) -> None:
    app = App(composed.app.name, url=composed.app.url)
    mul = app.named(composed.mul.name, priority=2)

    assert await mul.s(3).then(mul, 5).apply_async() == 30
    assert await mul.apply_async(2, b=4) == 8
    assert await app.s(composed.mul.name, 4).apply_async() == 8
    assert await app.named(composed.add.name).s(mul.s(1).cast, 1).apply_async() == 3
    result = app.named(composed.add.name, queue="nowhere").apply_async(1)
    await result.sent()
    assert await result.status() is Status.PENDING
    await result.cancel()
    await app.client.close()
