"""README and docs are programs and tables: every block runs, every table is complete, every link leads somewhere."""

from __future__ import annotations

import ast
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import aiotask
from aiotask import Status, errors
from aiotask.brokers.lanes import lane_of
from aiotask.brokers.redis.keys import prefix
from aiotask.embedded import server as embedded

from .pages import Block, Reader, blocks
from .postgres import PostgresServer
from .test_house import commands, key_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "tests", "benchmarks"
)


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.fixture
def home() -> Iterator[Path]:
    """A state directory of its own; no server outlives it."""
    # Not tmp_path: a socket path holds 104 bytes.
    directory = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    try:
        yield directory
    finally:
        embedded.stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


# ---- blocks


@pytest.mark.timeout(500)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path, home: Path) -> None:
    place = tmp_path / "here"
    if page == README:
        shutil.copytree(ROOT, place, ignore=NOT_SOURCE)
    else:
        place.mkdir()
    reader = Reader(place, home, place / ".venv" / "bin")
    todo = [block for block in runnable(page) if not block.needs]
    shell = "\n".join(block.text for block in todo if block.language == "bash")

    try:
        for block in todo:
            if block.language == "sql":
                check_sql(block, place / "history.db")
            else:
                later = is_run_by(shell, block.file) or is_part_of_others(block, todo)
                reader.follow(block, run_later=bool(block.file) and later)
    finally:
        reader.close()


def runnable(page: Path) -> list[Block]:
    ours = [block for block in blocks(page) if not block.not_run and not block.as_in]
    return [block for block in ours if block.language in ("bash", "python", "sql")]


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.needs for block in runnable(page))], ids=lambda page: page.name
)
def test_every_block_that_needs_postgresql_does_what_the_page_says(
    page: Path, tmp_path: Path, home: Path, postgres_server: PostgresServer
) -> None:
    """Such a block connects to a database that has the name of the module that it imports."""
    reader = Reader(tmp_path, home, postgres_server.programs, env=postgres_server.environment)
    todo = [block for block in runnable(page) if block.needs == "PostgreSQL" or "postgresql:///" in block.text]
    for name in {name for block in todo for name in re.findall(r"postgresql:///(\w+)", block.text)}:
        postgres_server.create(name)

    try:
        for block in todo:
            reader.follow(block, run_later=bool(block.file))
    finally:
        reader.close()


def is_run_by(shell: str, file: str) -> bool:
    """Whether a command of the page runs this file, or a worker on it."""
    module = file.removesuffix(".py").replace("/", ".")
    ways = (f"python {file}", f"python -m {module}", f"aiotask worker {module}", f"flask --app {module}")
    return any(re.search(rf"{re.escape(way)}(?![\w.])", shell) for way in ways)


def is_part_of_others(block: Block, others: list[Block]) -> bool:
    """Whether it is a module of a package that another block of the page names."""
    module = block.file.removesuffix(".py").replace("/", ".")
    return "/" in block.file and any(module in other.text for other in others if other is not block)


def check_sql(block: Block, file: Path) -> None:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    for statement in block.text.split(";"):
        if statement.strip():
            assert connection.execute(statement).fetchall(), f"{block.place}: no row for\n{statement}"
    connection.close()


def test_what_is_not_run_is_little_and_says_why() -> None:
    left_out = {block.place: block.not_run for page in PAGES for block in blocks(page) if block.not_run}

    assert len(left_out) <= 3, left_out


def test_a_block_that_another_page_runs_is_the_same_there() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.as_in:
                assert block.text in [each.text for each in runnable(ROOT / block.as_in)], block.place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_has_a_language_that_is_known(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(fences) % 2 == 0
    assert set(fences[1::2]) <= {""}
    assert set(fences[::2]) <= {"bash", "python", "sql", "text", "ini", "toml", "yaml"}


def test_the_quick_start_shows_the_example_as_it_is() -> None:
    (shown,) = [block for block in blocks(README) if block.file == "examples/readme.py"]

    assert shown.text == (ROOT / "examples" / "readme.py").read_text(encoding="utf-8")


# ---- tables


def table(text: str, column: str) -> list[list[str]]:
    """The cells of every table whose first column has this heading."""
    rows: list[list[str]] = []
    for heading in re.finditer(rf"^\| {column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE):
        rows += [[cell.strip() for cell in row.strip("|").split("|")] for row in heading[1].splitlines()]
    assert rows, f"no table begins with {column}"
    return rows


def named(cells: Iterator[str] | list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_status_has_its_row() -> None:
    rows = table(doc("statuses.md"), "status")

    assert sorted(row[0].strip("`") for row in rows) == sorted(Status)
    nexts = {row[0].strip("`"): named([row[3]]) for row in rows}
    assert all(following <= set(Status.__members__) for following in nexts.values())
    drawn = doc("statuses.md").split("```text")[1].split("```")[0]
    assert all(status in drawn for status, row in zip(nexts, rows, strict=True) if "reserved" not in row[1])


def test_every_error_is_explained() -> None:
    explained = named([row[0] for row in table(doc("errors.md"), "error")])
    public = set(errors.__all__) - {"AiotaskError", "Interrupted", "JobError", "Retry"}

    assert public <= explained
    assert explained <= public | {"TypeError"}


def test_every_flag_of_the_worker_has_its_row() -> None:
    rows = {tuple(sorted(named([row[0]]))): row for row in table(doc("workers.md"), "flag")}
    (worker,) = [command for name, command in commands() if name == "aiotask worker"]
    options = [option for option in worker.params if option.param_type_name == "option" and "--help" not in option.opts]

    assert set(rows) == {tuple(sorted(option.opts)) for option in options}
    for option in options:
        row = rows[tuple(sorted(option.opts))]
        assert named([row[1]]) == {option.envvar or "AIOTASK_APP"}


def test_every_variable_is_among_the_settings() -> None:
    settings = set(re.findall(r"\bAIOTASK_\w+", doc("settings.md")))
    sources = [path.read_text() for folder in ("aiotask", "cli") for path in (ROOT / folder).rglob("*.py")]
    known = {name for text in sources for name in re.findall(r"\bAIOTASK_[A-Z_]*[A-Z]\b", text)}
    known |= {f"AIOTASK_{name}" for text in sources for name in re.findall(r'environment\("(\w+)"', text)}
    known |= {option.envvar for _, command in commands() for option in command.params if option.envvar}

    assert settings == known


def test_every_option_of_a_task_has_its_row() -> None:
    from aiotask.tasks.options import CallOptions, TaskOptions

    rows = table(doc("tasks.md"), "option")
    at_the_call = named([row[0] for row in rows if row[4]])

    assert named([row[0] for row in rows]) == set(TaskOptions.__annotations__)
    assert at_the_call == set(CallOptions.__annotations__)


def test_every_key_on_the_server_is_told_of() -> None:
    cells = [row[0] for row in table(doc("how-it-works.md"), "key")]
    told = named(cells)

    assert set(key_table()) - {"to:ADDRESS", "q:QUEUE:0"} <= told
    assert told <= set(key_table()) | {"9"}


def test_every_column_of_the_history_is_told_of() -> None:
    from aiotask.history.file import COLUMNS

    assert named([row[0] for row in table(doc("results.md"), "column")]) == set(COLUMNS)


def test_every_public_name_is_told_of() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    # An outcome is met inside aiotask alone.
    missing = [name for name in aiotask.__all__ if not re.search(rf"\b{name}\b", text) and name != "Outcome"]

    assert not missing


def test_every_command_is_in_the_readme() -> None:
    listed = named([row[0] for row in table(README.read_text(encoding="utf-8"), "command")])
    words = {word for cell in listed for word in cell.split() if word.islower()}

    for name, _ in commands():
        assert set(name.split()) <= words, name


def test_the_comparison_is_the_same_in_both_places() -> None:
    table_there = re.search(r"^\| \|.*\n(?:\|.*\n)+", doc("comparison.md"), re.MULTILINE)

    assert table_there
    assert table_there[0] in README.read_text(encoding="utf-8")


def test_the_comparison_can_be_run() -> None:
    said = subprocess.run(
        [sys.executable, "docs/comparison.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=240
    ).stdout
    compared = set(re.findall(r"\| (\w+) \d", doc("comparison.md")))

    assert compared == {"aiotask", "Celery", "RQ", "Dramatiq", "arq", "Huey"}
    assert all(name.lower() in said for name in compared)


def test_the_comparison_of_graphs_can_be_run() -> None:
    said = subprocess.run(
        [sys.executable, "docs/comparison_graphs.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=240
    ).stdout
    (heading,) = re.findall(r"^\| \| (.*: canvas .*) \|$", doc("comparison.md"), re.MULTILINE)

    assert re.search(r"\{(.*)\}", said)
    assert [cell.split(":")[0].lower() for cell in heading.split(" | ")] == said.split("{")[1].split("}")[0].split(",")


@pytest.mark.parametrize("script", ["comparison_limits.py", "comparison_schedules.py"])
def test_the_comparison_of_limits_and_schedules_can_be_run(script: str) -> None:
    said = subprocess.run(
        [sys.executable, f"docs/{script}", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=240
    ).stdout

    assert f"({script})" in doc("comparison-limits.md")
    assert said.split("{")[1].split("}")[0].split(",") == ["aiotask", "celery", "docket", "bullmq"]


def test_the_comparison_of_rows_can_be_run() -> None:
    said = subprocess.run(
        [sys.executable, "docs/comparison_rows.py", "unknown"], cwd=ROOT, capture_output=True, text=True, timeout=240
    ).stderr
    names = re.findall(r"^\| `([a-z-]+)` \| ", doc("comparison.md"), re.MULTILINE)

    assert "unknown queue unknown" in said
    assert set(names) == set(said.strip().rpartition("there are ")[2].split(", "))


def test_every_kind_of_server_has_its_row_and_costs_what_doctor_says() -> None:
    from aiotask.ops.durability import ROWS

    rows = {row[0].strip("`"): row for row in table(doc("guarantees.md"), "server")}

    assert set(rows) == set(ROWS)
    for name, row in ROWS.items():
        for told, cell in ((row.killed, rows[name][2]), (row.machine, rows[name][3])):
            first = re.match(r"\w+", told)
            assert first and (cell.startswith(first[0]) or cell == "the same"), (name, told, cell)


# ---- manifests


def test_the_manifests_are_yaml_and_say_what_the_command_understands() -> None:
    found = [yaml.safe_load(block.text) for block in blocks(ROOT / "docs" / "deploy.md") if block.language == "yaml"]
    deployment, scaled = (
        next(each for each in found if each["kind"] == kind) for kind in ("Deployment", "ScaledObject")
    )
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}

    (worker,) = [command for name, command in commands() if name == "aiotask worker"]
    flags = {option.envvar: option for option in worker.params if option.envvar}
    assert set(env) <= {*flags, "AIOTASK_EMBEDDED", "AIOTASK_HOME"}
    assert container["args"][0] == "worker"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        given = worker.make_context("worker", container["args"][1:]).params
    # The keeper has 10 s at the end, and the supervisor a little more.
    assert spec["terminationGracePeriodSeconds"] >= given["grace"] + 12
    assert [port["containerPort"] for port in container["ports"]] == [given["health_port"]]
    assert given["health_host"] == "0.0.0.0"
    assert given["concurrency"] * given["max_memory_per_child"] < 2**30
    for probe, path in (("startupProbe", "/live"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")):
        assert container[probe]["httpGet"] == {"path": path, "port": container["ports"][0]["name"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert env["AIOTASK_HOME"].startswith(container["volumeMounts"][0]["mountPath"])

    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == f"{prefix('shop')}{lane_of('default', 5)}"
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_unit_gives_more_time_than_the_stop_takes() -> None:
    (unit,) = [block.text for block in blocks(ROOT / "docs" / "deploy.md") if block.language == "ini"]
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] not in "#[")
    grace = re.search(r"--grace (\d+)s", settings["ExecStart"])

    assert grace and int(settings["TimeoutStopSec"]) >= int(grace[1]) + 12
    assert (settings["Type"], settings["KillMode"]) == ("notify", "mixed")
    assert settings["ExecReload"].endswith("kill -HUP $MAINPID")
    assert f"Environment=AIOTASK_HOME=/var/lib/{settings['StateDirectory']}\n" in unit


# ---- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))

    for link in links:
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.is_file(), f"{page.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings]


def test_every_file_that_is_named_is_there() -> None:
    named_files = {
        name
        for page in PAGES
        for name in re.findall(r"`((?:aiotask|cli|examples|docs|benchmarks)/[\w./*-]+\.\w+)`", page.read_text("utf-8"))
    }

    assert named_files
    assert not [name for name in named_files if not list(ROOT.glob(name))]


def test_the_deployment_refers_to_what_is_there() -> None:
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    modules = re.findall(r'"(?:worker|-m)", "([\w.]+)"', compose)

    assert modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    ast.parse((ROOT / "examples" / "readme.py").read_text())
    assert subprocess.run([sys.executable, "-c", f"import {modules[0]}"], cwd=ROOT, timeout=240).returncode == 0
