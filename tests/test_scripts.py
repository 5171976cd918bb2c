"""The scripts of the server: each is composed of the parts that it names, and of nothing else."""

from __future__ import annotations

import re

import pytest

from aiotask.brokers.redis.keys import CONSTANTS
from aiotask.brokers.redis.script import Script, load_scripts

TEXTS = {name: text.decode() for name, text in load_scripts().items()}
NAMES = sorted(name for name in TEXTS if not name.startswith("lib/"))
PARTS = sorted(name for name in TEXTS if name.startswith("lib/"))


def bare(text: str) -> str:
    """Without comments and literal texts."""
    return re.sub(r"--.*|'[^']*'", "", text)


def defined(part: str) -> set[str]:
    """The names that a part gives to others."""
    found = re.findall(r"^local (?:function )?(\w+(?:, \w+)*)", bare(TEXTS[part]), re.MULTILINE)
    return {name for names in found for name in names.split(", ")}


def needs(name: str) -> list[str]:
    [line] = re.findall(r"^-- Needs:(.*)$", TEXTS[name], re.MULTILINE)
    return [f"lib/{part}" for part in line.split()]


def uses(name: str, part: str) -> set[str]:
    return set(re.findall(r"\w+", bare(TEXTS[name]))) & defined(part)


def test_there_are_scripts_and_parts() -> None:
    assert {"push", "claim", "finish"} <= set(NAMES)
    parts = "core damage due expiring graphs history index lanes limits meta nodes numbers pages parking repair results"
    parts += " schedules slots sorted special stats streams unique unstarted"
    assert [f"lib/{part}" for part in parts.split()] == PARTS


@pytest.mark.parametrize("name", [*NAMES, *PARTS])
def test_a_head_names_the_parts_that_the_text_uses(name: str) -> None:
    used = {part for part in PARTS if part != name and uses(name, part) - (defined(name) if name in PARTS else set())}

    assert set(needs(name)) == used


def test_no_two_parts_define_the_same_name() -> None:
    names = [name for part in PARTS for name in defined(part)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NAMES)
def test_a_script_carries_what_it_uses_and_no_more(name: str) -> None:
    source = Script(name).source.decode()
    words = re.findall(r"\w+", bare(source))

    for part in PARTS:
        for given in defined(part):
            # Defined once, and then used.
            assert words.count(given) != 1, f"{given} of {part} is carried and not used"
            if given in words:
                assert re.search(rf"^local (?:function )?[\w, ]*\b{given}\b", source, re.MULTILINE), given
    assert "--" not in bare(source)


#: Names, texts and signs of a script; a comment is none.
TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\d[\w.]*|[A-Za-z_]\w*|[=~<>]=|\.{2,3}|\S")
KEYWORDS = "and break do else elseif end false for function if in local nil not or repeat return then true until while"
GIVEN = "KEYS ARGV redis string table math struct cmsgpack pairs ipairs tonumber tostring type unpack pcall next error"


def tokens(source: str) -> list[str]:
    return [*TOKEN.findall(source), ""]


def declared(found: list[str]) -> set[str]:
    """The names of locals, parameters and functions."""
    names = set()
    for at, token in enumerate(found):
        if token in ("local", "for") and found[at + 1] != "function":
            end = next(n for n in range(at, len(found)) if n % 2 == at % 2 and found[n + 2] != ",")
            names.update(found[at + 1 : end + 2 : 2])
        elif token == "function":
            begin = found.index("(", at)
            names.update(found[at + 1 : begin], found[begin : found.index(")", begin)])
    return names


def used_names(found: list[str]) -> set[str]:
    """Names that stand for values: no fields of tables."""
    return {
        token
        for at, token in enumerate(found)
        if re.match(r"[A-Za-z_]", token)
        and found[at - 1] not in (".", ":")
        and not (found[at - 1] in ("{", ",") and found[at + 1] == "=")
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_a_script_is_defined(name: str) -> None:
    """The server says so only when it comes to such a name, in the middle of what the script changes."""
    found = tokens(Script(name).source.decode())

    assert used_names(found) - declared(found) <= {*KEYWORDS.split(), *GIVEN.split()}


@pytest.mark.parametrize(("name", "most"), [("push", 2), ("claim", 7), ("finish", 18)])
def test_the_scripts_of_plain_jobs_define_little(name: str, most: int) -> None:
    """The server evaluates each definition on every call, and each job pays for these three calls."""
    functions = re.findall(r"^local function \w+", Script(name).source.decode(), re.MULTILINE)

    assert 0 < len(functions) <= most, functions


def test_scripts_carry_the_constants_that_they_use() -> None:
    used = set()
    for name in NAMES:
        lines = Script(name).source.decode().splitlines()
        words = set(re.findall(r"\w+", bare("\n".join(lines))))
        for constant, value in CONSTANTS.items():
            assert (f"local {constant} = {value!r}" in lines) == (constant in words)
        used |= words
    assert set(CONSTANTS) <= used, "some constants are used by no script"


@pytest.mark.parametrize("name", [*NAMES, *PARTS])
def test_no_script_writes_down_a_number_that_has_a_name(name: str) -> None:
    numbers = {str(value) for value in CONSTANTS.values()} - {str(n) for n in range(1001)}

    assert not numbers & set(re.findall(r"\d+", re.sub(r"--.*", "", TEXTS[name])))
