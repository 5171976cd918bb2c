"""A graph as text: a tree below what was sent, and a Mermaid diagram."""

from __future__ import annotations

from aiotask import Graph, GraphNode


def node(id: str, *upstream: str, task: str = "", status: str = "SUCCESS") -> GraphNode:
    return GraphNode(id, task or f"shop:{id}", status, upstream)


def test_a_tree_stands_below_what_was_sent() -> None:
    graph = Graph("sum", [node("one"), node("two", status="FAILED"), node("sum", "one", "two", status="WAITING")])

    assert str(graph).splitlines() == ["shop:sum sum WAITING", "  shop:one one SUCCESS", "  shop:two two FAILED"]


def test_a_shared_job_is_drawn_once() -> None:
    graph = Graph("top", [node("base"), node("left", "base"), node("right", "base"), node("top", "left", "right")])

    assert str(graph).splitlines() == [
        "shop:top top SUCCESS",
        "  shop:left left SUCCESS",
        "    shop:base base SUCCESS",
        "  shop:right right SUCCESS",
        "    shop:base base SUCCESS (see above)",
    ]


def test_follow_ups_and_members_of_a_group_stand_side_by_side() -> None:
    graph = Graph("a-group", [node("one"), node("two"), node("alert", "two")])

    assert str(graph).splitlines() == [
        "shop:alert alert SUCCESS",
        "  shop:two two SUCCESS",
        "shop:one one SUCCESS",
    ]


def test_many_of_one_task_are_one_line_with_counts() -> None:
    tiles = [node(f"t{n}", task="shop:render", status="SUCCESS" if n < 9_000 else "PENDING") for n in range(9_998)]
    graph = Graph("sheet", [*tiles, node("head"), node("sheet", *(tile.id for tile in tiles), "head")])

    assert str(graph).splitlines() == [
        "shop:sheet sheet SUCCESS",
        "  shop:render \N{MULTIPLICATION SIGN} 9,998: 9,000 SUCCESS, 998 PENDING",
        "  shop:head head SUCCESS",
    ]


def test_twenty_of_one_task_have_a_line_each() -> None:
    tiles = [node(f"t{n}", task="shop:render") for n in range(20)]
    graph = Graph("sheet", [*tiles, node("sheet", *(tile.id for tile in tiles))])

    assert len(str(graph).splitlines()) == 21


def test_a_chain_of_ten_thousand_is_drawn_without_recursion_and_without_endless_indents() -> None:
    links = [node("0"), *(node(str(n), str(n - 1)) for n in range(1, 10_000))]

    lines = str(Graph("9999", links)).splitlines()

    assert len(lines) == 10_000 and max(map(len, lines)) < 100


def test_a_diagram_escapes_the_names_of_tasks() -> None:
    graph = Graph("b", [node("a", task='shop:"<b>"'), node("b", "a", status="WAITING")])

    assert graph.mermaid().splitlines() == [
        "flowchart TD",
        '    n0["shop:#34;#60;b#62;#34;<br/>SUCCESS"]',
        '    n1["shop:b<br/>WAITING"]',
        "    n0 --> n1",
    ]


def test_its_repr_is_short() -> None:
    assert repr(Graph("a", [node("a")])) == "<Graph a of 1>"


def test_what_many_siblings_need_stands_below_their_line() -> None:
    nodes = [GraphNode("s", "shop:split", "SUCCESS")]
    nodes += [GraphNode(f"r{n}", "shop:render", "SUCCESS" if n < 900 else "PENDING", ("s",)) for n in range(1000)]
    nodes += [GraphNode("j", "shop:join", "WAITING", tuple(f"r{n}" for n in range(1000)))]

    assert str(Graph("j", nodes)).splitlines() == [
        "shop:join j WAITING",
        "  shop:render \N{MULTIPLICATION SIGN} 1,000: 900 SUCCESS, 100 PENDING",
        "    shop:split s SUCCESS",
    ]


def test_returned_calls_stand_below_the_job_that_returned_them() -> None:
    # The first was sent, and its edge names the call; the second had a number already, and only ``parent`` tells.
    nodes = [
        GraphNode("b", "shop:fib", "WAITING", (), "root"),
        GraphNode("c", "shop:add", "RUNNING", (), "b"),
        GraphNode("root", "shop:fib", "WAITING", ("b",)),
    ]

    drawn = Graph("root", nodes)

    assert str(drawn).splitlines() == ["shop:fib root WAITING", "  shop:fib b WAITING", "    shop:add c RUNNING"]
    assert [line.strip() for line in drawn.mermaid().splitlines()[4:]] == ["n0 --> n2", "n1 -.-> n0"]


def test_names_of_tasks_are_text_and_nothing_else() -> None:
    name = 'shop:"<b>]\n\x1b[31m'
    drawn = Graph("1", [GraphNode("1", name, "SUCCESS")])

    assert str(drawn) == 'shop:"<b>]\\n\\x1b[31m 1 SUCCESS'
    assert drawn.mermaid() == 'flowchart TD\n    n0["shop:#34;#60;b#62;#93;#92;n#92;x1b#91;31m<br/>SUCCESS"]'


def test_follow_ups_are_drawn_after_what_was_sent() -> None:
    nodes = [
        GraphNode("p", "shop:price", "FAILED"),
        GraphNode("a", "shop:alarm", "PENDING", ("p",)),
        GraphNode("t", "shop:total", "FAILED", ("p",)),
    ]

    assert [line.split()[1] for line in str(Graph("t", nodes)).splitlines()] == ["t", "p", "a", "p"]


def test_a_chain_of_a_hundred_thousand_is_drawn() -> None:
    nodes = [GraphNode("0", "shop:step", "SUCCESS")]
    nodes += [GraphNode(str(n), "shop:step", "PENDING", (str(n - 1),)) for n in range(1, 100_000)]

    lines = list(Graph("99999", nodes).tree())

    assert len(lines) == 100_000
    assert (lines[-1].depth, lines[-1].nodes[0].id) == (99_999, "0")
