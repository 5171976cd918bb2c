"""The rules of the house that no linter keeps: floors, front door, sizes, key table, flags, commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import aiotask
from aiotask.brokers.redis import keys

from .run_order import LONGEST

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("aiotask", "cli", "tests") for path in (ROOT / folder).rglob("*.py"))

#: Modules that lie in aiotask/ itself; the others have a room.
MAX_AT_THE_TOP = 18
MAX_LINES = 400
#: Longer files, each with the reason why it is still one noun.
LONGER: dict[str, str] = {}


def test_every_file_imports_only_from_the_floors_below() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run(
        [str(lint_imports), "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_cli_imports_itself_relatively() -> None:
    # It lies in cli/ and installs as aiotask_cli: only a relative import is right in both.
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "cli").rglob("*.py")
        for node, module in imported_modules(path)
        if module.split(".")[0] in ("cli", "aiotask_cli")
    ]

    assert not wrong, f"absolute imports of the command line's own modules: {wrong}"


def imported_modules(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node, node.module or ""


# ---- the front door


def test_all_is_the_public_namespace() -> None:
    # Submodules stand in the namespace because they were imported; they are no part of the surface.
    namespace = {
        name
        for name, value in vars(aiotask).items()
        if not name.startswith("_")
        and not (isinstance(value, ModuleType) and value.__name__.startswith("aiotask."))
        and name not in ("annotations", "TYPE_CHECKING")
    }
    # Names that load at first use stand in __all__ and __dir__ alone.
    late = set(dir(aiotask)) - set(vars(aiotask))
    missing = {name for name in aiotask.__all__ if not hasattr(aiotask, name)}
    assert not missing, f"__all__ promises what is not there: {missing}"

    assert set(aiotask.__all__) - {"__version__"} == namespace | {name for name in late if not name.startswith("_")}
    assert len(aiotask.__all__) == len(set(aiotask.__all__))


def test_all_is_grouped_under_headings_and_sorted_within_each() -> None:
    source = (ROOT / "aiotask" / "__init__.py").read_text()
    body = re.search(r"^__all__ = \[\n(.*?)^\]", source, re.MULTILINE | re.DOTALL)
    assert body, "aiotask/__init__.py has no __all__ that is written as one list"

    groups: dict[str, list[str]] = {}
    for line in body[1].splitlines():
        if heading := re.fullmatch(r"\s*# (.+)", line):
            groups[heading[1]] = group = []
        else:
            assert groups, f"{line.strip()} stands under no heading"
            group += re.findall(r'"(\w+)"', line)

    assert sum(map(len, groups.values())) == len(aiotask.__all__)
    for heading_text, names in groups.items():
        assert names, f"no name under the heading {heading_text!r}"
        assert names == sorted(names), f"the names under {heading_text!r} are not sorted"


def test_the_front_door_defines_nothing() -> None:
    tree = ast.parse((ROOT / "aiotask" / "__init__.py").read_text())
    allowed_functions = {"__getattr__", "__dir__"}

    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body):
                assert all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in body)
            case ast.FunctionDef(name=name) if name in allowed_functions:
                pass
            case _:
                pytest.fail(f"aiotask/__init__.py:{node.lineno} defines something: {ast.unparse(node)[:80]}")


# ---- sizes


def test_no_file_is_longer_than_one_noun_needs() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}

    too_long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES and name not in LONGER}

    assert not too_long, f"more than {MAX_LINES} lines: {too_long}"
    shrunk = [name for name in LONGER if lengths.get(name, 0) <= MAX_LINES]
    assert not shrunk, f"these need their exception no more: {shrunk}"


def test_modules_have_a_room() -> None:
    at_the_top = sorted(path.name for path in (ROOT / "aiotask").glob("*.py"))

    assert len(at_the_top) <= MAX_AT_THE_TOP, f"{len(at_the_top)} modules lie in aiotask/ itself: {at_the_top}"


# ---- the keys on the server


def key_table() -> list[str]:
    """The first column of the table in ``keys.py``, and the channels told of below it."""
    source = ast.get_docstring(ast.parse((ROOT / "aiotask/brokers/redis/keys.py").read_text())) or ""
    rows = re.split(r"^=[= ]+$", source, flags=re.MULTILINE)[2].splitlines()
    column = [row[:20].strip() for row in rows if row and not row.startswith(" ")]
    names = [name.strip() for cell in column for name in cell.split("…")[0].split(",")]
    return names + re.findall(r"aiotask1:\{APP\}:([\w:]+)", source)


def key_types() -> dict[str, str]:
    """The types of keys that the table in ``keys.py`` tells of; a row with two keys has the second type below it."""
    rows = re.split(r"^=[= ]+$", keys.__doc__ or "", flags=re.MULTILINE)[2].strip("\n").splitlines()
    names = [name.strip() for row in rows for name in row[:20].split("…")[0].split(",") if name.strip()]
    types = [row[20:26].strip(" ,") for row in rows if row[20:26].strip()]
    return dict(zip(names, types, strict=True))


def test_the_types_of_keys_are_those_of_the_table() -> None:
    whole_names = {name: kind for name, kind in key_types().items() if name.islower()}

    assert whole_names == {**keys.TYPES, "clock": "string"}


def is_in_table(literal: str, table: list[str]) -> bool:
    """A literal is a key of the table, or all of one up to its first placeholder."""
    return any(literal == name or literal == re.split(r"[A-Z]{2,}", name)[0] for name in table)


def test_every_key_that_a_script_names_is_in_the_table() -> None:
    scripts = sorted((ROOT / "aiotask/brokers/redis/scripts").rglob("*.lua"))
    assert scripts

    table = key_table()
    named = {
        (script.name, literal)
        for script in scripts
        for literal in re.findall(r"\bkey\(\s*['\"]([^'\"]+)['\"]", script.read_text())
    }

    assert named, "no script builds a key with key('...')"
    unknown = sorted(f"{script}: {literal}" for script, literal in named if not is_in_table(literal, table))
    assert not unknown, f"keys that keys.py does not tell of: {unknown}"


def test_no_script_builds_a_key_in_another_way() -> None:
    by_hand = [
        f"{script.name}:{number}"
        for script in sorted((ROOT / "aiotask/brokers/redis/scripts").rglob("*.lua"))
        for number, line in enumerate(script.read_text().splitlines(), start=1)
        if "KEYS[" in line.split("--")[0] and "function key(" not in line
    ]

    assert not by_hand, f"keys that are not built with key('...'): {by_hand}"


# ---- the command line


def commands() -> Iterator[tuple[str, Any]]:
    import typer.main

    from aiotask_cli.main import app

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for child, sub in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {child}", sub)

    return walk("aiotask", typer.main.get_command(app))


def flags() -> list[tuple[str, Any]]:
    return [
        (f"{name} {parameter.opts[0]}", parameter)
        for name, command in commands()
        for parameter in command.params
        if parameter.param_type_name == "option" and "--help" not in parameter.opts
    ]


#: What types as a flag but asks for one action now: an environment must not repeat it.
ACTIONS = {"--version", "--install-completion", "--show-completion"}


def test_every_flag_has_an_environment_variable() -> None:
    options = flags()
    assert options

    def variables(option: Any) -> list[str]:
        named = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
        # An option that shares its variable with an argument reads it itself, and its help says so.
        return named + re.findall(r"env var: (AIOTASK_\w+)", option.help or "")

    bare = [
        name
        for name, option in options
        if not ACTIONS & set(option.opts) and not any(each.startswith("AIOTASK_") for each in variables(option))
    ]

    assert not bare, f"flags without an AIOTASK_ variable: {bare}"


def test_every_command_and_flag_says_what_it_does() -> None:
    silent = [name for name, described in [*commands(), *flags()] if not (described.help or "").strip()]

    assert not silent, f"no help text: {silent}"


# ---- the two commands that everybody begins with


@pytest.mark.parametrize("heading", ["## Run it", "## Test it"])
def test_readme_gives_one_command(heading: str) -> None:
    readme = (ROOT / "README.md").read_text()

    section = re.search(rf"^{heading}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no {heading}"
    blocks = re.findall(r"^```bash\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)

    assert len(blocks) == 1
    assert len(blocks[0].strip().splitlines()) == 1


def test_ci_runs_the_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    extraction = re.search(r"test_it=\$\((awk .*)\)\n", script)
    assert extraction

    extracted = subprocess.run(["bash", "-c", extraction[1]], cwd=ROOT, capture_output=True, text=True, check=True)

    readme = (ROOT / "README.md").read_text()
    assert extracted.stdout.strip()
    assert f"```bash\n{extracted.stdout.strip()}\n```" in readme.split("## Test it\n")[1]


# ---- the test run


def test_what_the_ordinary_run_leaves_out_says_why_and_is_no_whole_file() -> None:
    nodes = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "full_only" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call | ast.Assign)
    ]
    reasons = {
        place: [each.value for each in node.args if isinstance(each, ast.Constant)]
        for place, node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "full_only"
    }
    whole = [
        place
        for place, node in nodes
        if isinstance(node, ast.Assign) and "pytestmark" in ast.dump(node.targets[0]) and "full_only" in ast.dump(node)
    ]

    assert reasons
    unclear = [place for place, given in reasons.items() if len(given) != 1 or len(str(given[0]).split()) < 4]
    assert not unclear, f"pytest.mark.full_only needs one sentence, why the ordinary run can go without: {unclear}"
    assert not whole, f"a file keeps tests in the ordinary run: mark some of them, not all: {whole}"


def test_the_files_that_begin_first_are_there() -> None:
    assert not [file for file in LONGEST if not (ROOT / file).is_file()]
    assert len(set(LONGEST)) == len(LONGEST)
