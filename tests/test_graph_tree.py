"""A graph drawn as a tree and as a Mermaid diagram."""

from __future__ import annotations

from aiotask import Graph, GraphNode


def test_a_job_that_is_needed_twice_is_drawn_once() -> None:
    nodes = [
        GraphNode("p", "shop:price", "SUCCESS"),
        GraphNode("t", "shop:total", "RUNNING", ("p",)),
        GraphNode("b", "shop:both", "WAITING", ("t", "p")),
    ]

    assert str(Graph("b", nodes)).splitlines() == [
        "shop:both b WAITING",
        "  shop:total t RUNNING",
        "    shop:price p SUCCESS",
        "  shop:price p SUCCESS (see above)",
    ]


def test_what_many_siblings_need_stands_below_their_line() -> None:
    nodes = [GraphNode("s", "shop:split", "SUCCESS")]
    nodes += [GraphNode(f"r{n}", "shop:render", "SUCCESS" if n < 900 else "PENDING", ("s",)) for n in range(1000)]
    nodes += [GraphNode("j", "shop:join", "WAITING", tuple(f"r{n}" for n in range(1000)))]

    assert str(Graph("j", nodes)).splitlines() == [
        "shop:join j WAITING",
        "  shop:render \N{MULTIPLICATION SIGN} 1,000: 900 SUCCESS, 100 PENDING",
        "    shop:split s SUCCESS",
    ]


def test_twenty_siblings_have_a_line_each() -> None:
    nodes = [GraphNode(f"r{n}", "shop:render", "SUCCESS") for n in range(20)]

    assert len(str(Graph("g", nodes)).splitlines()) == 20
    assert len(str(Graph("g", [*nodes, GraphNode("r20", "shop:render", "SUCCESS")])).splitlines()) == 1


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


def test_names_of_tasks_are_text_and_nothing_else() -> None:
    name = 'shop:"<b>]\n\x1b[31m'
    drawn = Graph("1", [GraphNode("1", name, "SUCCESS")])

    assert str(drawn) == 'shop:"<b>]\\n\\x1b[31m 1 SUCCESS'
    assert drawn.mermaid() == 'flowchart TD\n    n0["shop:#34;#60;b#62;#93;#92;n#92;x1b#91;31m<br/>SUCCESS"]'
