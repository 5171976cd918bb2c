"""Graph: the jobs that were sent together, as a caller sees them; drawn as a tree and as a Mermaid diagram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Graph", "GraphNode", "TreeLine"]

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
        """A tree: below each job stand those whose values it takes, or which its run has returned. Many jobs of one
        task are one line with counts; a job that stands further up already is only named."""
        return "\n".join(f"{'  ' * min(line.depth, _DEEPEST)}{line}" for line in self.tree())

    def tree(self) -> Iterator[TreeLine]:
        """The lines of that tree."""
        return _Tree(self.nodes).lines()

    def mermaid(self) -> str:
        """A Mermaid flowchart, in which values flow downwards; an edge to a job of many is drawn for each.

        A dotted edge leads from a call that a run has returned to the job of that run."""
        numbers = {node.id: number for number, node in enumerate(self.nodes)}
        lines = ["flowchart TD"]
        lines += [f'    n{numbers[node.id]}["{_escaped(node.task)}<br/>{node.status}"]' for node in self.nodes]
        lines += [
            f"    n{numbers[id]} --> n{numbers[node.id]}"
            for node in self.nodes
            for id in node.upstream
            if id in numbers
        ]
        lines += [
            f"    n{numbers[id]} -.-> n{numbers[parent]}" for parent, ids in _returned(self.nodes).items() for id in ids
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Graph {self.id} of {len(self.nodes):,}>"


class TreeLine(NamedTuple):
    """One line of a drawn graph: a job, or many jobs of one task."""

    depth: int
    nodes: Sequence[GraphNode]
    #: Whether all of them, and what is below them, stand further up.
    is_repeat: bool = False

    def statuses(self) -> list[tuple[str, int]]:
        """How many of these jobs are in each status, the most frequent one first."""
        return Counter(node.status for node in self.nodes).most_common()

    def __str__(self) -> str:
        first, number = self.nodes[0], len(self.nodes)
        task = printable(first.task)
        counts = ", ".join(f"{count:,} {status}" for status, count in self.statuses())
        one, many = f"{printable(first.id)} {first.status}", f"\u00d7 {number:,}: {counts}"
        return f"{task} {one if number == 1 else many}{' (see above)' if self.is_repeat else ''}"


class _Tree:
    """Draws the jobs of a graph, without recursion."""

    def __init__(self, nodes: Sequence[GraphNode]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._returned = _returned(nodes)
        self._drawn: set[str] = set()

    def lines(self) -> Iterator[TreeLine]:
        below = {id for node in self._nodes.values() for id in node.upstream}
        below.update(id for ids in self._returned.values() for id in ids)
        # Jobs that nothing depends on: the last one is what was sent, the others follow up on something.
        stack = [(0, nodes) for nodes in self._level([id for id in self._nodes if id not in below])]
        while stack:
            depth, nodes = stack.pop()
            new = [node for node in nodes if node.id not in self._drawn]
            yield TreeLine(depth, nodes, is_repeat=not new)
            self._drawn.update(node.id for node in new)
            needed = dict.fromkeys(id for node in new for id in (*node.upstream, *self._returned.get(node.id, ())))
            stack += [(depth + 1, nodes) for nodes in reversed(self._level(needed))]

    def _level(self, ids: Iterable[str]) -> list[list[GraphNode]]:
        """What stands next to each other at one place of the tree, by line."""
        by_task: dict[str, list[GraphNode]] = {}
        for id in ids:
            if (node := self._nodes.get(id)) is not None:
                by_task.setdefault(node.task, []).append(node)
        lines: list[list[GraphNode]] = []
        for siblings in by_task.values():
            lines += [siblings] if len(siblings) > _MANY else [[node] for node in siblings]
        return lines


def _returned(nodes: Sequence[GraphNode]) -> dict[str, list[str]]:
    """By the id of a job: what its run has returned, where no edge says so, since the job had its number before."""
    known = {node.id for node in nodes}
    taken = {id for node in nodes for id in node.upstream}
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node.parent in known and node.id not in taken:
            found.setdefault(node.parent, []).append(node.id)
    return found


def printable(text: str) -> str:
    """Text of others on one line: what is not printable is written as an escape."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _escaped(text: str) -> str:
    """Text in a label of Mermaid, as entities where it would mean something."""
    return "".join(f"#{ord(sign)};" if sign in _SPECIAL else sign for sign in printable(text))


_SPECIAL = frozenset('"#&;<>`[](){}|\\*_~')
