"""What stands for a job in a send buffer: the job, or a graph of many. An app without graphs loads nothing for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from ..broker import Push

if TYPE_CHECKING:
    from .staging import GraphPush

__all__ = ["ids_of", "is_graph", "limits_of", "shown"]


def is_graph(push: Push) -> TypeGuard[GraphPush]:
    """Whether this is a graph."""
    return type(push) is not Push


def ids_of(pushes: Sequence[Push]) -> list[str]:
    """Ids of these jobs, and of those that callers are likely to await of these graphs."""
    ids: list[str] = []
    for push in pushes:
        ids.append(push.id)
        if is_graph(push):
            ids += [id for id in push.awaited if id != push.id]
    return ids


def limits_of(push: Push) -> set[str]:
    """The names of the limits of this job, or of the jobs of this graph."""
    if is_graph(push):
        return push.staging.limits
    limit = push.special.limit if push.special is not None else ""
    return {limit.partition(":")[0]} if limit else set()


def shown(pushes: Sequence[Push]) -> str:
    """How many jobs and graphs these are, and the first id, for the log."""
    first = pushes[0].id if pushes else ""
    jobs = sum(push.jobs if is_graph(push) else 1 for push in pushes)
    graphs = len([push for push in pushes if is_graph(push)])
    if graphs and len(pushes) == 1:
        return f"Graph of {_jobs(jobs)} not sent ({first})"
    among = f", {graphs:,} graph{'' if graphs == 1 else 's'} among them" if graphs else ""
    return f"{_jobs(jobs)} not sent (first: {first}{among})"


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"
