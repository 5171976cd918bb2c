"""The name under which workers import the program that runs as ``__main__``, however it was started."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.functions.main_module import Facts, importable_name, name_of_main

from .workers import running_workers

ROOTS = ("/usr/lib/python3.11", "/srv/lib", "/srv/shop", "/srv/shop/bin")
SCRIPT = Facts(None, "/srv/shop/bin/run.py", True, False, ROOTS, "/srv/shop/bin/run.py")
INTERACTIVE = "interactive session, where no worker process can find it"

#: What started the program: what is known of it, and the module that a worker imports, or why there is none.
STARTS: dict[str, tuple[Facts, str | None, str]] = {
    "python bin/run.py": (SCRIPT, "bin.run", ""),
    "cd bin; python run.py": (SCRIPT._replace(roots=("/srv/shop/bin",)), "run", ""),
    "a script below an import root": (SCRIPT._replace(file="/srv/lib/jobs.py"), "jobs", ""),
    "a script beside everything": (SCRIPT._replace(file="/tmp/jobs.py", roots=("/srv", "/tmp")), "jobs", ""),
    "a folder that is no name": (
        SCRIPT._replace(file="/srv/my-app/jobs.py", roots=("/srv", "/srv/my-app")),
        "jobs",
        "",
    ),
    "the root directory": (SCRIPT._replace(file="/jobs.py", roots=("/",)), "jobs", ""),
    "python -m shop.tasks": (SCRIPT._replace(spec="shop.tasks"), "shop.tasks", ""),
    "python -m shop": (SCRIPT._replace(spec="shop.__main__"), "shop.__main__", ""),
    "python -m shop, in a zip file": (
        Facts("shop.__main__", "/srv/shop.zip/shop/__main__.py", False, False, ROOTS),
        "shop.__main__",
        "",
    ),
    "python shop/ (a package)": (
        Facts("__main__", "/srv/shop/bin/__main__.py", True, True, ROOTS),
        "bin.__main__",
        "",
    ),
    "cd shop; python . (a package)": (
        Facts("__main__", "/srv/pack/__main__.py", True, True, ("/srv/pack",)),
        "pack.__main__",
        "",
    ),
    "python shop/__init__.py": (
        Facts(None, "/srv/shop/bin/__init__.py", True, True, ROOTS),
        "bin",
        "",
    ),
    "cd shop; python __init__.py": (
        Facts(None, "/srv/pack/__init__.py", True, True, ("/srv/pack",)),
        "pack",
        "",
    ),
    "python folder/": (
        Facts("__main__", "/srv/shop/__main__.py", True, False, ROOTS),
        None,
        'the "__main__" of "shop"',
    ),
    "python app.pyz": (
        Facts("__main__", "/srv/app.pyz/__main__.py", False, False, ROOTS),
        None,
        'the "__main__" of "app.pyz"',
    ),
    "python -m cProfile run.py (3.12)": (SCRIPT._replace(spec="__main__"), "bin.run", ""),
    "a generated function of a script": (SCRIPT._replace(code="<attrs generated init>"), "bin.run", ""),
    "python -m asyncio": (
        Facts("asyncio.__main__", "/usr/lib/python3.11/asyncio/__main__.py", True, True, ROOTS, "<console>"),
        None,
        INTERACTIVE,
    ),
    "python -m asyncio, exec": (
        Facts("asyncio.__main__", "/usr/lib/python3.11/asyncio/__main__.py", True, True, ROOTS, "<string>"),
        None,
        INTERACTIVE,
    ),
    "python": (Facts(None, None, False, False, ROOTS, "<stdin>"), None, INTERACTIVE),
    "python < run.py": (Facts(None, None, False, False, ROOTS, "<stdin>"), None, INTERACTIVE),
    "python -i run.py": (SCRIPT._replace(code="<stdin>"), None, INTERACTIVE),
    "python -i run.py (3.13)": (SCRIPT._replace(code="<python-input-3>"), None, INTERACTIVE),
    "python -m pdb run.py": (SCRIPT._replace(code="<stdin>"), None, INTERACTIVE),
    "IPython": (Facts(None, None, False, False, ROOTS, "<ipython-input-1-abc>"), None, INTERACTIVE),
    "Jupyter": (Facts(None, None, False, False, ROOTS, "/tmp/ipykernel_7/123.py"), None, INTERACTIVE),
    "a doctest": (SCRIPT._replace(code="<doctest shop[0]>"), None, INTERACTIVE),
    "python -c": (Facts(None, None, False, False, ROOTS, "<string>"), None, "the code of `python -c`"),
    "python my-script.py": (
        SCRIPT._replace(file="/srv/shop/my-script.py"),
        None,
        '"my-script.py", which no worker process can import: "my-script" is not a valid module name in Python. '
        'Rename the file, for example to "my_script.py"',
    ),
    "python 2fast.py": (
        SCRIPT._replace(file="/srv/shop/2fast.py"),
        None,
        'Rename the file, for example to "_2fast.py"',
    ),
    "a file that is gone": (SCRIPT._replace(exists=False), None, '"/srv/shop/bin/run.py", which is not a file that'),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_main_program_is_named_as_a_worker_imports_it_or_it_is_said_why_none_can(start: str) -> None:
    facts, name, why_not = STARTS[start]

    home = name_of_main(facts)

    assert home.name == name
    assert why_not in home.why_not
    assert bool(home.why_not) == (name is None)


@pytest.mark.parametrize("stem", ["my-script", "2fast", "a b", "été-1", "-"])
def test_a_file_name_that_is_suggested_can_be_imported(stem: str) -> None:
    assert importable_name(stem).isidentifier()


# ---- real programs


#: A program that sends a job of its own, and prints the name of its task and the value that came back.
PROGRAM = """
import os
from aiotask import App
app = App(os.environ["TEST_APP"])
@app.task
def add(a):
    return a + 1
"""
SENDS = """
try:
    print("SAID", add.name, add.apply_async(1).get(timeout=30))
except BaseException as error:
    print("SAID", add.name, type(error).__name__, str(error).replace(chr(10), " "))
"""
GUARDED = "if __name__ == '__main__':\n" + textwrap.indent(SENDS, "    ")
RUNPY = "import runpy\nif __name__ == '__main__':\n    runpy.run_path('plain.py', run_name='__main__')\n"
CHILD = """
import multiprocessing, sys
def child(answers):
    import __main__
    answers.put((add.name, add.apply_async(1).get(timeout=30)))
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    answers = context.Queue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    print("SAID", *answers.get(timeout=60))
    process.join()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, text in {
        "plain.py": PROGRAM + GUARDED,
        "scripts/deep.py": PROGRAM + GUARDED,
        "my-script.py": PROGRAM + GUARDED,
        "says.py": "def say(add):\n" + textwrap.indent(SENDS, "    "),
        "children.py": PROGRAM + CHILD,
        "pack/__init__.py": "",
        "pack/__main__.py": PROGRAM + GUARDED,
        "pack/inner.py": PROGRAM + GUARDED,
        "loose/__main__.py": PROGRAM + GUARDED,
        "by_runpy.py": RUNPY,
        "moves.py": "import os, tempfile\nfrom aiotask import App\nos.chdir(tempfile.gettempdir())\n"
        + PROGRAM
        + GUARDED,
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with zipfile.ZipFile(folder / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", PROGRAM + GUARDED)
    return folder


MODULES = ("plain", "scripts.deep", "children", "pack.__main__", "pack.inner", "moves")


@pytest.fixture(scope="module")
def environment(folder: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Workers for all of the programs; the variables of one that sends to them."""
    directory = tmp_path_factory.mktemp("workers")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")},
        "AIOTASK_URL": redis_url,
        "AIOTASK_HOME": str(directory / "home"),
        "TEST_APP": f"test-main-{os.getpid()}",
        "PYTHON_BASIC_REPL": "1",
    }
    with running_workers(directory, redis_url) as workers:
        workers.start(*MODULES, app_dir=folder, env={"TEST_APP": variables["TEST_APP"]})
        yield variables


def said(environment: dict[str, str], folder: Path, *arguments: str, typed: str | None = None) -> str:
    """What a Python with these arguments says of its task, run in the folder."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        timeout=100,
    )
    lines = [line.partition("SAID ")[2] for line in done.stdout.splitlines() if "SAID " in line]
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("plain.py",), "plain"),
        (("scripts/deep.py",), "scripts.deep"),
        (("-m", "plain"), "plain"),
        (("-m", "pack.inner"), "pack.inner"),
        (("-m", "pack"), "pack.__main__"),
        (("pack",), "pack.__main__"),
        (("moves.py",), "moves"),
        (("by_runpy.py",), "plain"),
        (("-m", "cProfile", "-o", os.devnull, "plain.py"), "plain"),
        (("-m", "cProfile", "-o", os.devnull, "-m", "pack.inner"), "pack.inner"),
        (("-m", "trace", "--count", "-C", "/tmp", "--ignore-dir", "/", "plain.py"), "plain"),
        (("-m", "pdb", "-c", "continue", "-c", "quit", "plain.py"), "plain"),
        (("children.py", "spawn"), "children"),
        (("children.py", "forkserver"), "children"),
        (("children.py", "fork"), "children"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_program_finds_its_workers_however_it_is_started(
    environment: dict[str, str], folder: Path, arguments: tuple[str, ...], name: str
) -> None:
    assert said(environment, folder, *arguments) == f"{name}:add 2"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("loose",), 'was defined in the "__main__" of "loose", and no worker process can import'),
        (("app.pyz",), 'was defined in the "__main__" of "app.pyz", and no worker process can import'),
        (("my-script.py",), 'Rename the file, for example to "my_script.py".'),
        (("-c", PROGRAM + SENDS), "was defined in the code of `python -c`"),
    ],
    ids=["a folder", "a zip file", "a dash", "-c"],
)
def test_a_program_that_no_worker_can_import_is_told_so_when_it_sends(
    environment: dict[str, str], folder: Path, arguments: tuple[str, ...], why: str
) -> None:
    answer = said(environment, folder, *arguments)

    assert answer.startswith("__main__:add ConfigError")
    assert why in answer


#: In lines that stand alone: not every prompt takes more from what is no terminal.
TYPED = """
import os
from aiotask import App
from says import say
app = App(os.environ["TEST_APP"])
typed = app.task(lambda a: a + 1)
say(typed)
"""
LOCAL = "import code\ncode.interact(local={}, banner='')\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-",),
        ("-i",),
        ("-i", "plain.py"),
        ("-m", "asyncio"),
        ("-m", "code"),
        ("-c", LOCAL),
    ],
    ids=["stdin", "dash", "-i", "-i script", "asyncio", "code", "interact without a name"],
)
def test_what_is_typed_is_refused_with_the_reason(
    environment: dict[str, str], folder: Path, arguments: tuple[str, ...]
) -> None:
    if "plain.py" in arguments:
        of_the_script, answer = _all_said(environment, folder, arguments, TYPED)
        assert of_the_script == "plain:add 2"
    else:
        answer = said(environment, folder, *arguments, typed=TYPED)

    assert "ConfigError" in answer
    assert INTERACTIVE in answer


def _all_said(environment: dict[str, str], folder: Path, arguments: tuple[str, ...], typed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return [line.partition("SAID ")[2] for line in done.stdout.splitlines() if "SAID " in line]
