"""Graph: the jobs that were sent together, as a caller sees them; drawn as a tree and as a Mermaid diagram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Graph", "GraphNode"]

#: Siblings of one task up to which each has a line of its own; one line with counts stands for more.
_MANY = 20
#: Levels by which the tree is indented at most: a chain may have any number of links.
_DEEPEST = 24


class GraphNode(NamedTuple):
    """One job of a graph."""

    id: str
    #: Name of the task.
    task: str
    #: A word of Status.
    status: str
    #: Ids of the jobs whose values it takes.
    upstream: tuple[str, ...] = ()
    #: Id of the job that has returned this one as its value; empty: it was sent.
    parent: str = ""


class Graph:
    """The jobs of a graph at one moment. ``str()`` draws them as a tree, ``mermaid()`` as a diagram.

    Args:
        id: id of the graph: that of the job it was sent for, or of a group.
        nodes: its jobs, upstream before downstream.
    """

    def __init__(self, id: str, nodes: Sequence[GraphNode]) -> None:
        self.id = id
        self.nodes = nodes

    def __str__(self) -> str:
        """A tree: below each job stand those whose values it takes. Many jobs of one task are one line with counts; a
        job that stands further up already is only named."""
        return "\n".join(_Tree(self.nodes).lines())

    def mermaid(self) -> str:
        """A Mermaid flowchart, in which values flow downwards; an edge to a job of many is drawn for each."""
        numbers = {node.id: number for number, node in enumerate(self.nodes)}
        lines = ["flowchart TD"]
        lines += [f'    n{numbers[node.id]}["{_escaped(node.task)}<br/>{node.status}"]' for node in self.nodes]
        lines += [
            f"    n{numbers[id]} --> n{numbers[node.id]}"
            for node in self.nodes
            for id in node.upstream
            if id in numbers
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Graph {self.id} of {len(self.nodes):,}>"


class _Tree:
    """Draws the jobs of a graph, without recursion."""

    def __init__(self, nodes: Sequence[GraphNode]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._drawn: set[str] = set()

    def lines(self) -> Iterator[str]:
        fed = {id for node in self._nodes.values() for id in node.upstream}
        # Jobs that nothing depends on: the last one is what was sent, the others follow up on something.
        stack = list(reversed(self._level([id for id in reversed(self._nodes) if id not in fed], 0)))
        while stack:
            indent, drawn = stack.pop()
            if isinstance(drawn, str):
                yield "  " * indent + drawn
                continue
            if drawn.id in self._drawn:
                yield f"{'  ' * indent}{_shown(drawn)} (see above)"
                continue
            self._drawn.add(drawn.id)
            yield "  " * indent + _shown(drawn)
            stack += reversed(self._level(list(drawn.upstream), indent + 1))

    def _level(self, ids: list[str], depth: int) -> list[tuple[int, GraphNode | str]]:
        """What stands next to each other at one place of the tree: jobs, and lines that stand for many."""
        by_task: dict[str, list[GraphNode]] = {}
        for id in ids:
            if (node := self._nodes.get(id)) is not None:
                by_task.setdefault(node.task, []).append(node)
        depth = min(depth, _DEEPEST)
        level: list[tuple[int, GraphNode | str]] = []
        for siblings in by_task.values():
            level += [(depth, _counted(siblings))] if len(siblings) > _MANY else [(depth, node) for node in siblings]
        return level


def _counted(nodes: Sequence[GraphNode]) -> str:
    """One line for many jobs of one task, with their number and the numbers of each status."""
    statuses = Counter(node.status for node in nodes).most_common()
    counts = ", ".join(f"{count:,} {status}" for status, count in statuses)
    return f"{nodes[0].task} \N{MULTIPLICATION SIGN} {len(nodes):,}: {counts}"


def _shown(node: GraphNode) -> str:
    return f"{node.task} {node.id} {node.status}"


def _escaped(text: str) -> str:
    """Text in a label of Mermaid, as entities where it would mean something."""
    return "".join(f"#{ord(sign)};" if sign in _SPECIAL else sign for sign in text)


_SPECIAL = frozenset('"#&;<>`[](){}|\\*_~')
