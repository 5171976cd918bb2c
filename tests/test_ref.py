"""A future value may be passed on, and nothing else: every use of it raises, names the task and says what to do."""

from __future__ import annotations

import copy
import json
import math
import operator
import os
import pickle
import re
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest

from aiotask import Unresolved
from aiotask.ref import Ref, collecting, resolving


class Call:
    """What a Ref knows of a signature."""

    id = "00a-1"
    task = "shop:add"


ref: Any = Ref(Call())
Point = namedtuple("Point", "x y")


def matched() -> Any:
    match ref:
        case 3:
            return 3
        case other:
            return other


def in_a_loop() -> None:
    while ref:
        break


def unpacked() -> None:
    _first, _second = ref


#: What a program may try with a value, by how it looks.
USES: dict[str, Callable[[], object]] = {
    "if r": lambda: 1 if ref else 2,
    "not r": lambda: not ref,
    "r and 1": lambda: ref and 1,
    "while r": in_a_loop,
    "bool(r)": lambda: bool(ref),
    "for in r": lambda: list(ref),
    "x, y = r": unpacked,
    "f(*r)": lambda: print(*ref),
    "next(r)": lambda: next(ref),
    "reversed(r)": lambda: reversed(ref),
    "len(r)": lambda: len(ref),
    "r[0]": lambda: ref[0],
    "r[0] = 1": lambda: operator.setitem(ref, 0, 1),
    "del r[0]": lambda: operator.delitem(ref, 0),
    "1 in r": lambda: 1 in ref,
    "r in [1]": lambda: ref in [1],
    "[r, 1].index(1)": lambda: [ref, 1].index(1),
    "r()": lambda: ref(),
    "r.name": lambda: ref.name,
    "r.x = 1": lambda: setattr(ref, "x", 1),
    "del r.x": lambda: delattr(ref, "x"),
    "r + 1": lambda: ref + 1,
    "1 + r": lambda: 1 + ref,
    "'a' + r": lambda: "a" + ref,
    "r += 1": lambda: operator.iadd(ref, 1),
    "[1] * r": lambda: [1] * ref,
    "-r": lambda: -ref,
    "r ** 2": lambda: ref**2,
    "r @ r": lambda: ref @ ref,
    "r | {}": lambda: ref | {},
    "sum([r])": lambda: sum([ref]),
    "r == 3": lambda: ref == 3,
    "3 == r": lambda: 3 == ref,  # noqa: SIM300 - the other operand is asked first
    "r != 3": lambda: ref != 3,
    "r < 3": lambda: ref < 3,
    "max(r, 1)": lambda: max(ref, 1),
    "sorted([r, r])": lambda: sorted([ref, ref]),
    "match r": matched,
    "f'{r}'": lambda: f"{ref}",
    "'%s' % r": lambda: "%s" % ref,  # noqa: UP031 - this very form
    "str(r)": lambda: str(ref),
    "bytes(r)": lambda: bytes(ref),
    "open(r)": lambda: os.fspath(ref),
    "{r}": lambda: {ref},
    "{r: 1}": lambda: {ref: 1},
    "hash(r)": lambda: hash(ref),
    "int(r)": lambda: int(ref),
    "float(r)": lambda: float(ref),
    "range(r)": lambda: range(ref),
    "round(r)": lambda: round(ref),
    "math.floor(r)": lambda: math.floor(ref),
    "with r": lambda: operator.methodcaller("__enter__")(ref),
    "pickle.dumps(r)": lambda: pickle.dumps(ref),
}


def test_there_are_as_many_uses_as_were_promised() -> None:
    assert len(USES) == 53


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_raises_and_says_what_to_do(use: Callable[[], object]) -> None:
    with pytest.raises(Unresolved, match=re.escape('The value of "shop:add" is not there yet')) as caught:
        use()

    assert isinstance(caught.value, TypeError)
    assert "may only be passed on" in str(caught.value) and "await it first" in str(caught.value)


async def test_it_cannot_be_awaited_or_entered_by_async_code() -> None:
    with pytest.raises(Unresolved, match="awaited"):
        await ref
    with pytest.raises(Unresolved, match="with block"):
        async with ref:
            pass
    with pytest.raises(Unresolved, match="iterated"):
        async for _ in ref:
            pass


@pytest.mark.parametrize(
    "use",
    [lambda: "%d" % ref, lambda: json.dumps(ref), lambda: ",".join([ref]), lambda: dict(**ref)],  # noqa: UP031
    ids=["%d", "json", "join", "**r"],
)
def test_what_python_refuses_by_itself_names_a_ref(use: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="Ref"):
        use()


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match='asked for its attribute "total"'):
        _ = ref.total
    assert not hasattr(ref, "total") and not hasattr(ref, "__array__")


def test_what_a_log_and_a_container_need_is_allowed() -> None:
    assert repr(ref) == "<the future value of shop:add 00a-1>"
    assert isinstance(ref, Ref) and ref is ref
    assert copy.copy(ref) is ref and copy.deepcopy([ref])[0] is ref
    assert Point(ref, 1) == Point(ref, 1) and [ref] == [ref]


def test_pickle_finds_a_ref_once_for_each_call_and_use() -> None:
    other, settled = Ref(Call()), Ref(Call(), settled=True)

    with collecting() as found:
        body = pickle.dumps([ref, other, {"deep": (settled, Point(ref, 1))}], 5)

    assert (found.upstream, found.settled, len(found.calls)) == (["00a-1", "00a-1"], [1], 1)
    with resolving([7, "error"]):
        assert pickle.loads(body) == [7, 7, {"deep": ("error", Point(7, 1))}]
    with pytest.raises(Unresolved, match="only a worker knows them"):
        pickle.loads(body)


def test_a_collector_ends_with_its_block_and_is_of_one_thread() -> None:
    with pytest.raises(ZeroDivisionError), collecting():
        raise ZeroDivisionError
    with pytest.raises(Unresolved):
        pickle.dumps(ref)
    with collecting() as outer:
        with collecting() as inner:
            pickle.dumps(ref)
        assert (outer.refs, len(inner.refs)) == ([], 1)
        pickle.dumps(ref)
        assert len(outer.refs) == 1
