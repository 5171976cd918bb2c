"""From what is typed to the tasks that it means: several modules, included ones, and names that mean something else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiotask
from aiotask import App, ImportFailed
from aiotask.functions.modules import import_module
from aiotask.importer import load_apps

from .programs import Program
from .workers import Workers

APP = "import os\nfrom aiotask import App\napp = App(os.environ.get('TEST_APP', 'proj'){more})\n"
TASKS = "from proj.app import app\n@app.task\ndef run(x): return x + {n}\n"
FILES = {
    "proj/__init__.py": "",
    "proj/app.py": APP.format(more=""),
    "proj/full.py": APP.format(more=", include=['proj.tasks.full']"),
    "proj/tasks/__init__.py": "",
    "proj/tasks/a.py": TASKS.format(n=1),
    "proj/tasks/b.py": TASKS.format(n=2),
    "proj/tasks/far.py": "from proj import app as home\n@home.app.task\ndef run(x): return x + 3\n",
    "proj/tasks/full.py": "from proj.full import app\n@app.task\ndef run(x): return x + 4\n",
    "proj/models.py": "price = 3\n",
    "hollow.py": APP.format(more=", include=['proj.models']"),
    "wrong.py": APP.format(more=", include=['proj.nowhere']"),
}
#: Files with names that something else has, or that nothing can have.
SHADOWS = {
    "queue.py": "from aiotask import App\napp = App('mine')\n@app.task\ndef f(): ...\n",
    "aiotask.py": "from aiotask import App\napp = App('mine')\n@app.task\ndef f(): ...\n",
    "my-script.py": "from aiotask import App\napp = App('mine')\n@app.task\ndef f(): ...\n",
}


def _write(folder: Path) -> None:
    for name, text in (FILES | SHADOWS).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in a folder of its own, which is not on the import path yet."""
    _write(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("proj", "hollow", "wrong"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("specs", "tasks"),
    [
        (["proj.app", "proj.tasks.a"], ["proj.tasks.a:run"]),
        (["proj.tasks.a", "proj.app"], ["proj.tasks.a:run"]),
        (["proj.app:app", "proj.tasks.a", "proj.tasks.b"], ["proj.tasks.a:run", "proj.tasks.b:run"]),
        (["proj.tasks.far"], ["proj.tasks.far:run"]),
        (["proj.app", "proj.tasks.far"], ["proj.tasks.far:run"]),
        (["proj.full"], ["proj.tasks.full:run"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_several_modules_feed_one_app(folder: Path, specs: list[str], tasks: list[str]) -> None:
    (app,) = load_apps(specs, str(folder))

    assert app.registry.names == tasks


def test_an_error_of_aiotask_ends_at_the_line_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nightly.py").write_text("from aiotask import App\n\nApp('mine').task(cron='0 25 * * *')(print)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportFailed) as failed:
        import_module("nightly", str(tmp_path))

    first, *trace = str(failed.value).splitlines()
    assert "The hour is 0 to 23" in first
    assert [line for line in trace if line.startswith("  File ")] == [
        f'  File "{tmp_path}/nightly.py", line 3, in <module>'
    ]


REFUSED: dict[str, tuple[list[str], str]] = {
    "an app alone": (
        ["proj.app"],
        'Module "proj.app" defines no tasks. It holds the app "proj". Name the modules with its tasks, too, as in '
        '`aiotask worker proj.app shop.tasks`, or list them in the app: App(include=["shop.tasks"]).',
    ),
    "an included module without tasks": (["hollow"], "and what its include= names (proj.models) defines none either"),
    "an included module that is missing": (["wrong"], 'There is no module "proj.nowhere"'),
    "one of two": (
        ["proj.tasks.a", "proj.models"],
        'Module "proj.models" defines no tasks. Put `@aiotask.task` or `@app.task` above a function there',
    ),
    "a module of nothing": (
        ["some.incorrect.app"],
        'There is no module "some" (looked in "{folder}" first), so "some.incorrect.app"',
    ),
    "a module of a package": (
        ["proj.nothing.there"],
        'There is no module "proj.nothing" (looked in "{folder}" first), so',
    ),
    "dots before the app": (["proj.app.app"], "Did you mean `proj.app:app`, which is an attribute of that module?"),
    "dots within the app": (["proj.app.app.registry"], "Did you mean `proj.app:app.registry`"),
    "the library": (
        ["aiotask"],
        'is the library itself ("{library}"), not an app. Rename your file "{folder}/aiotask.py"',
    ),
    "a part of the library": (["aiotask.app"], '"aiotask.app" is the library itself'),
    "a module of Python": (["queue"], 'and not your file "{folder}/queue.py". Rename your file'),
    "a dash": (
        ["my-script"],
        'The file "{folder}/my-script.py" cannot be imported: "my-script" is not a valid module name in Python. '
        "Rename it, for example to my_script.py",
    ),
    "a file with a dash": (
        ["my-script.py"],
        '"my-script.py" is a file that cannot be imported: "my-script" is not a valid module name in Python. '
        "Rename it so that the module can be named `my_script`.",
    ),
    "a file": (["proj/app.py"], '"proj/app.py" is a file; name the module instead: `proj.app`.'),
    "no name": (["proj..app"], '"proj..app" is not a module name. Use `package.module` or `package.module:app`.'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_name_that_means_no_tasks_is_refused_with_the_next_step(folder: Path, case: str) -> None:
    specs, reason = REFUSED[case]

    with pytest.raises(ImportFailed, match=re.escape(reason.format(folder=folder, library=aiotask.__file__))):
        load_apps(specs, str(folder))


@pytest.mark.parametrize("case", ["an app alone", "dots before the app", "the library", "a module of Python"])
def test_the_command_ends_with_the_same_error(tmp_path: Path, case: str) -> None:
    (spec,), reason = REFUSED[case]
    _write(tmp_path)

    done = subprocess.run(
        [Path(sys.executable).with_name("aiotask"), "worker", spec],
        cwd=tmp_path,
        env={**os.environ, "AIOTASK_URL": "memory://", "TEST_APP": "proj", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 3
    assert reason.format(folder=tmp_path, library=aiotask.__file__) in done.stdout + done.stderr


# ---- include, in every kind of worker


SENDER = """
import asyncio, json
from proj.full import app
print(json.dumps(app.s("proj.tasks.full:run", 1).apply_async().get(timeout=60)))
"""
IN_LOOP = """
import asyncio, json
from proj.full import app
async def main():
    async with app.worker():
        print(json.dumps(await app.s("proj.tasks.full:run", 1).apply_async().wait(60)))
asyncio.run(main())
"""


def test_forked_workers_and_a_worker_in_the_loop_run_the_tasks_of_included_modules(
    workers: Workers, tmp_path: Path
) -> None:
    program = Program(tmp_path, workers, FILES | {"send.py": SENDER, "here.py": IN_LOOP})

    assert program.run("here.py") == 5
    program.serve("proj.full")
    assert program.run("send.py") == 5


async def test_a_worker_in_the_loop_says_which_included_module_is_missing() -> None:
    app = App("included", url="memory://", include=["no_such_module_at_all"])

    with pytest.raises(ImportFailed, match='There is no module "no_such_module_at_all"'):
        async with app.worker():
            pass


OWN = """
import asyncio, json, os
from aiotask import App
app = App(os.environ["TEST_APP"], include=["script"])
ran = []
@app.task
def mark():
    ran.append(1)
async def main():
    async with app.worker():
        await mark.apply_async().wait(60)
if __name__ == "__main__":
    asyncio.run(main())
    print(json.dumps(ran))
"""


def test_a_script_that_includes_itself_is_not_imported_once_more(workers: Workers, tmp_path: Path) -> None:
    assert Program(tmp_path, workers, {"script.py": OWN}).run("script.py") == [1]


# ---- a task that no worker knows


NEAR = """
import json, os
from aiotask import App
app = App(os.environ["TEST_APP"])
@app.task
def add(x):
    return x
if __name__ == "__main__":
    said = []
    for name in ("prog:add", "src.prog:adds", "far:off"):
        try:
            app.s(name, 1).apply_async().get(timeout=60)
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    print(json.dumps(said))
"""


def test_the_name_that_workers_know_is_said_where_it_differs_little(workers: Workers, tmp_path: Path) -> None:
    program = Program(tmp_path, workers, {"src/prog.py": NEAR, "src/__init__.py": ""})
    program.serve("src.prog")

    other_module, other_function, far_off = program.run("prog.py", folder="src")

    assert (
        'UnknownTask: No running worker knows the task "prog:add". Workers know "src.prog:add". The job' in other_module
    )
    assert 'Workers know "src.prog:add".' in other_function
    assert "Workers know" not in far_off
