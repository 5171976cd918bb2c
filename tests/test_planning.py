"""A plan: what can be reached from the signatures that are sent, each call once, upstream before downstream."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiotask import App, Call, ConfigError, Middleware, SerializationError, Signature, Unresolved, chain, group
from aiotask.brokers.graphs import Condition, Node
from aiotask.client.planning import Plan
from aiotask.job import Job, decode_job
from aiotask.values.flow import Kind, unpack_ids
from aiotask.workflow.group import leaves

app = App("planning", url="memory://", result_ttl=100.0)
other_app = App("planning-other", url="memory://")


@app.task
def add(a: int, b: int = 0) -> int:
    return a + b


@app.task(queue="sums", result_ttl=7.0, priority=2, delay=3.0, retries=4)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def alert(error: Exception, text: str = "") -> None: ...


@other_app.task
def elsewhere(a: int) -> int:
    return a


def planned(root: Signature[Any], **options: Any) -> list[Node]:
    return Plan([root], root.id, root).nodes(**options)


def job_of(node: Node) -> Job:
    return decode_job(app.jobs_sealer.open(node.push.sealed))


# ---- shape


def test_upstream_comes_first_and_a_call_that_is_used_twice_is_one_node() -> None:
    shared = add.s(1, 2)
    left, right = add.s(shared.cast), add.s(shared.cast, shared.cast)
    root = total.s([left.cast, right.cast, 3])

    nodes = planned(root)

    assert [node.push.id for node in nodes] == [shared.id, right.id, left.id, root.id] or [
        node.push.id for node in nodes
    ] == [shared.id, left.id, right.id, root.id]
    assert [node.number for node in nodes] == [1, 2, 3, 4]
    assert nodes[0].upstream == () and nodes[1].upstream == nodes[2].upstream == (1,)
    assert sorted(nodes[3].upstream) == [2, 3]


def test_numbers_begin_behind_those_that_the_graph_has() -> None:
    plan = Plan([add.s(add.s(1).cast)], "a-graph")

    nodes = plan.nodes(first=40)

    assert len(plan) == 2 and [node.number for node in nodes] == [41, 42] and nodes[1].upstream == (41,)


def test_the_envelope_says_where_the_job_stands() -> None:
    inner = add.s(1)
    root = total.s([inner.cast, add.s(2).settled, inner.settled])  # type: ignore[list-item]

    nodes = planned(root, reply="here.1", awaited={root.id}, parent="a-parent")

    job, source = job_of(nodes[-1]), job_of(nodes[0])
    assert job.version == 2 and job.more is not None and job.more.flow is not None
    flow = job.more.flow
    assert (flow.graph, flow.node, flow.kind, job.more.parent) == (root.id, 3, Kind.PLAIN, "a-parent")
    assert unpack_ids(flow.upstream)[0] == unpack_ids(flow.upstream)[2] == inner.id and flow.settled == [1, 2]
    assert (job.queue, job.priority, job.result_ttl, job.reply) == ("sums", 2, 7.0, "here.1")
    assert (source.queue, source.result_ttl, source.reply) == ("default", 100.0, "")
    assert (nodes[-1].push.delay, nodes[-1].result_ttl, nodes[0].result_ttl) == (3.0, 7.0, 100.0)


def test_the_options_of_a_call_are_kept() -> None:
    root = add.s(add.options(queue="far", priority=0, retries=2, timeout=5.0).s(1).cast)

    job = job_of(planned(root)[0])

    assert (job.queue, job.priority, job.retries, job.timeout) == ("far", 0, 2, 5.0)


def test_expiry_counts_from_the_moment_at_which_a_node_is_ready() -> None:
    root = add.options(expires=30.0).s(add.options(expires=30.0).s(1).cast)

    source, waiting = map(job_of, planned(root))

    assert source.more is not None and source.more.expires == -30.0
    assert waiting.more is not None and waiting.more.expires == -30.0


def test_a_chain_of_100_000_is_planned_without_recursion() -> None:
    call = add.s(0)
    for _ in range(99_999):
        call = call.then(add)

    plan = Plan([call], call.id, call)

    assert len(plan) == 100_000


def test_many_ids_upstream_are_written_as_runs() -> None:
    members = group(add.s(n) for n in range(5_000))

    root = total.s(members.cast)

    job = job_of(planned(root)[-1])
    assert job.more is not None and job.more.flow is not None
    assert len(job.more.flow.upstream) < 5 and len(unpack_ids(job.more.flow.upstream)) == 5_000


# ---- follow-ups


def test_follow_ups_hang_on_their_call_wherever_it_stands() -> None:
    inner = add.s(1).on_error(alert, "inner")
    root = add.s(inner.cast).on_success(add, 5).on_error(alert)

    nodes = planned(root)

    by_condition = {node.condition: node for node in nodes if node.task == alert.name or node.condition}
    assert len(nodes) == 5 and [node.condition for node in nodes].count(Condition.ERROR) == 2
    root_number = next(node.number for node in nodes if node.push.id == root.id)
    assert by_condition[Condition.SUCCESS].upstream == (root_number,)
    job = job_of(by_condition[Condition.ERROR])
    assert job.more is not None and job.more.flow is not None and job.more.flow.settled == [0]
    success = job_of(by_condition[Condition.SUCCESS])
    assert success.more is not None and success.more.flow is not None and success.more.flow.settled == []


def test_a_follow_up_of_a_group_hangs_on_each_member() -> None:
    members = group(add.s(1), add.s(2)).on_error(alert)

    nodes = Plan(leaves(members.members), members.id).nodes()

    assert len(nodes) == 4 and [node.condition for node in nodes].count(Condition.ERROR) == 2


def test_a_follow_up_takes_no_value_of_another_call() -> None:
    root = add.s(1).on_success(add, add.s(2).cast)

    with pytest.raises(ConfigError, match=r"takes the value of another call.*\.then\(\)"):
        planned(root)


# ---- what is refused


def test_a_circle_is_named() -> None:
    numbers: list[int] = []
    first = total.s(numbers)
    second = add.s(first.cast)
    numbers.append(second.cast)

    with pytest.raises(ConfigError, match=r"depends on its own value: .*add <- .*total <- .*add\. Was a list"):
        planned(second)


def test_a_call_that_was_sent_is_refused_upstream() -> None:
    sent = add.s(1)
    planned(sent)

    with pytest.raises(ConfigError, match=r"was sent already.*await its result and pass the value"):
        planned(add.s(sent.cast))
    planned(sent)


@pytest.mark.parametrize("option", ["id", "key"])
def test_only_the_root_has_an_id_or_a_key(option: str) -> None:
    inner = add.options(**{option: "seven"})  # type: ignore[misc]

    planned(inner.s(add.s(1).cast))
    with pytest.raises(ConfigError, match=rf"\.options\({option}=None\)"):
        planned(add.s(inner.s(1).cast))
    with pytest.raises(ConfigError, match=rf"\.options\({option}=None\)"):
        inner.map([1, 2])


def test_two_apps_are_no_graph() -> None:
    with pytest.raises(ConfigError, match='app "planning-other"'):
        planned(add.s(elsewhere.s(1).cast))


def test_an_argument_that_cannot_be_serialized_is_named_and_nothing_counts_as_sent() -> None:
    inner = add.s(1)
    root = add.s(inner.cast, threading.Lock())  # type: ignore[arg-type]

    with pytest.raises(SerializationError, match='argument "b"'):
        planned(root)

    root.kwargs, root.args = {}, (inner.cast,)
    assert len(planned(root)) == 2


def test_a_use_while_arguments_are_pickled_is_an_error_of_its_own() -> None:
    class Curious:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __reduce__(self) -> Any:
            return str, (f"{self.value}",)

    with pytest.raises(Unresolved, match="turned into text"):
        planned(add.s(Curious(add.s(1).cast)))  # type: ignore[arg-type]


def test_nothing_follows_what_was_sent() -> None:
    call = add.s(1)
    planned(call)

    with pytest.raises(ConfigError, match=r"sent already.*before apply_async"):
        call.on_error(alert)


# ---- helpers


def test_a_chain_is_thens() -> None:
    call = chain(add.s(1, 2), add, add)

    nodes = planned(call)

    assert [node.upstream for node in nodes] == [(), (1,), (2,)]


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: add.s(1).then(wrong),
        lambda wrong: add.s(1).on_success(wrong),
        lambda wrong: add.s(1).on_error(wrong),
        lambda wrong: group(add.s(1)).then(wrong),
        lambda wrong: group(add.s(1)).on_error(wrong),
        lambda wrong: chain(add.s(1), add, wrong),
    ],
    ids=["then", "on_success", "on_error", "group.then", "group.on_error", "chain"],
)
@pytest.mark.parametrize("wrong", [add.s(2), add.s(2).cast, add.func, "planning:add"], ids=type)
def test_what_gets_a_value_is_a_task_and_not_a_call_of_it(make: Callable[[Any], object], wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"has to be a task, not .*\.then\(mul, 3\)"):
        make(wrong)


@pytest.mark.parametrize("wrong", [add, add.s(1).cast, [add.s(1)]], ids=["a task", "a future value", "a list"])
def test_a_chain_starts_with_a_call(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"A chain starts with a call .* as add\.s\(1, 2\) makes it"):
        chain(wrong, add)


def test_a_signature_keeps_what_it_says_where_it_is_copied() -> None:
    call = add.options(queue="far").s(1).on_error(alert, "x")

    copied: Signature[int] = pickle.loads(pickle.dumps(call))

    assert (copied.id, copied.args, copied.task) == (call.id, (1,), add.name)
    source, follow_up = planned(copied)
    assert (source.push.queue, follow_up.task, follow_up.upstream) == ("far", alert.name, (1,))


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "all"])
def test_a_chunk_is_a_whole_number(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="chunk="):
        add.map([1], chunk=wrong)


def test_a_group_takes_calls() -> None:
    for wrong in ([1], 3, [add.s(1).cast]):
        with pytest.raises(ConfigError, match="group"):
            group(wrong)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="have not been sent"):
        group(add.s(1), add.s(2).cast)  # type: ignore[arg-type]


# ---- middleware


class Swallowing(Middleware):
    """Catches every error of what is sent within it."""

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        with contextlib.suppress(Exception):
            yield


def test_a_middleware_that_catches_errors_leaves_no_graph_with_a_hole() -> None:
    swallowing = App("swallowing", url="memory://", middleware=[Swallowing()])
    task = swallowing.task(name="tests:anything")(anything)
    root = task.s([task.s(1).cast, task.s(threading.Lock()).cast])

    with pytest.raises(SerializationError):
        Plan([root], root.id, root)


def anything(value: Any) -> Any:
    return value
