"""What users install: the distributions are complete and clean, and work from anywhere on every Python that is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest
import redis

from .pythons import pythons

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", "*.pyc", ".*_cache", ".coverage*", "node_modules"
)


#: Suffixes of the files that packages hold.
DATA = {".py", ".lua", ".html", ".css", ".js", ".svg", ".toml", ".LICENSE"}


def clean_environment() -> dict[str, str]:
    """The environment without any setting of this test run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTASK_", "PYTHON", "COV_"))}
    # Under pytest the embedded server has to be asked for.
    return kept | {"AIOTASK_EMBEDDED": "1"}


def run(*command: str | Path, cwd: Path, timeout: float = 100, environment: Mapping[str, str] | None = None) -> str:
    """Output of a command that succeeds."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment() | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Distributions:
    wheel: Path
    sdist: Path

    def files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}

    def metadata(self, name: str) -> str:
        with zipfile.ZipFile(self.wheel) as archive:
            (path,) = (each for each in archive.namelist() if each.endswith(f".dist-info/{name}"))
            return archive.read(path).decode()


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    # A copy: a build leaves files beside the sources, and must not find those of an earlier one.
    # The wheel is built from the unpacked sdist, so it proves the sdist complete too.
    place = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, place / "source", ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", place / "source", cwd=place)
    (wheel,) = (place / "dist").glob("*.whl")
    (sdist,) = (place / "dist").glob("*.tar.gz")
    return Distributions(wheel, sdist)


def test_the_wheel_holds_every_module_and_nothing_else(distributions: Distributions) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    expected = {
        prefix + path.relative_to(ROOT / folder).as_posix()
        for folder, prefix in (("aiotask", "aiotask/"), ("cli", "aiotask_cli/"))
        for path in (ROOT / folder).rglob("*")
        if path.suffix in DATA or path.name == "py.typed"
    }

    installed = {name for name in distributions.files() if not name.startswith(f"aiotask-{version}.dist-info/")}

    assert installed == expected
    assert "aiotask/py.typed" in installed
    assert any(name.startswith("aiotask/brokers/redis/scripts/") for name in installed)


def test_the_wheel_is_for_every_python_and_says_what_it_needs(distributions: Distributions) -> None:
    headers = HeaderParser().parsestr(distributions.metadata("METADATA"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert distributions.wheel.name == f"aiotask-{project['version']}-py3-none-any.whl"
    assert headers["License-Expression"] == "MIT"
    assert headers["Requires-Python"] == ">=3.11"
    assert headers.get_all("Provides-Extra") == [
        "json",
        "embedded",
        "cron",
        "sql",
        "postgres",
        "web",
        "top",
        "otel",
        "reload",
        "bench",
        "dev",
    ]
    base = {
        re.split(r"[\[<>=;! ]", line)[0] for line in headers.get_all("Requires-Dist") or () if "extra ==" not in line
    }
    assert base == {"cloudpickle", "msgspec", "redis", "rich", "typer", "uvloop"}
    assert "aiotask = aiotask_cli.start:main" in distributions.metadata("entry_points.txt")


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_source_distribution_holds_what_a_packager_needs(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/test_packaging.py", ".ci/run"}
    assert wanted <= names
    stray = [name for name in names if name.startswith((".git/", ".venv")) or "__pycache__" in name]
    assert not stray


# ---- installed


@dataclass(frozen=True)
class Installation:
    """A virtual environment in a directory of its own, with nothing of the source tree in sight."""

    place: Path

    @property
    def python(self) -> Path:
        return self.place / "venv" / "bin" / "python"

    @property
    def aiotask(self) -> Path:
        return self.place / "venv" / "bin" / "aiotask"


@pytest.fixture(scope="session")
def installation(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel alone; what it needs is borrowed from the environment that runs the tests."""
    made = Installation(tmp_path_factory.mktemp("installed"))
    venv.create(made.place / "venv", with_pip=False, symlinks=True)
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        made.python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    run(*install, distributions.wheel, cwd=made.place)
    own = Path(run(made.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=made.place).strip())
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def test_the_installed_package_is_imported_from_anywhere(installation: Installation, tmp_path: Path) -> None:
    code = "import aiotask, aiotask_cli.main; print(aiotask.__file__, aiotask_cli.main.__file__, aiotask.__version__)"

    library, commands, version = run(installation.python, "-c", code, cwd=tmp_path).split()

    assert Path(library).is_relative_to(installation.place)
    assert Path(commands).is_relative_to(installation.place)
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.trap("top-level cli")
def test_nothing_else_is_importable_by_it(installation: Installation, tmp_path: Path) -> None:
    # A top-level "cli", "tests" or "examples" in site-packages would shadow those of the user.
    code = (
        "import importlib.util as u; print([n for n in ('cli', 'tests', 'examples', 'benchmarks') if u.find_spec(n)])"
    )

    assert run(installation.python, "-I", "-c", code, cwd=tmp_path).strip() == "[]"


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["worker", "--help"]], ids=" ".join)
def test_the_command_runs_from_anywhere(installation: Installation, tmp_path: Path, arguments: list[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    said = run(installation.aiotask, *arguments, cwd=tmp_path)

    assert version in said if arguments == ["version"] else "aiotask" in said
    assert run(installation.python, "-m", "aiotask", *arguments, cwd=tmp_path) == said


# ---- every Python that is here


SHOP = """
from aiotask import App

app = App("smoke")


@app.task
def render(tile: int) -> str:
    import sys

    return f"tile {tile} on {sys.version_info[0]}.{sys.version_info[1]}"
"""

CLIENT = """
import asyncio

import shop


async def main() -> None:
    async with shop.app:
        print(await shop.render.apply_async(7).wait(timeout=30))


asyncio.run(main())
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for an embedded server, with a path so short that a unix socket fits in; no server outlives it."""
    home = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    try:
        yield home
    finally:
        for socket in home.rglob("*.sock"):
            with suppress(redis.ConnectionError), redis.Redis(unix_socket_path=str(socket)) as server:
                server.shutdown(nosave=True)
        shutil.rmtree(home, ignore_errors=True)


#: The interpreter of this run comes first.
PYTHONS = pythons()
OTHER_PYTHON = pytest.mark.full_only("the distributions are the same on each Python; .ci/run tests on each one")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=OTHER_PYTHON if number else ()) for number, version in enumerate(PYTHONS)]
)
def test_a_job_runs_after_a_plain_install(
    version: str, distributions: Distributions, tmp_path: Path, home: Path
) -> None:
    made = Installation(tmp_path)
    run(PYTHONS[version], "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(made.python, "-m", "pip", "install", "--quiet", f"{distributions.wheel}[embedded]", cwd=tmp_path, timeout=200)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "client.py").write_text(CLIENT)
    environment = {"HOME": str(home), "AIOTASK_HOME": str(home)}

    with worker(made, "shop", tmp_path, environment):
        value = run(made.python, "client.py", cwd=tmp_path, environment=environment)
    stopped = run(made.aiotask, "server", "stop", cwd=tmp_path, environment=environment)

    assert value.strip() == f"tile 7 on {version}"
    assert "Stopped" in stopped
    assert not list(home.rglob("*.sock"))


@contextmanager
def worker(made: Installation, module: str, cwd: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A worker daemon that has to end well when it is told to stop."""
    command = [str(made.aiotask), "worker", module, "--concurrency", "1"]
    log = cwd / "worker.log"
    with log.open("wb") as said:
        daemon = subprocess.Popen(
            command,
            cwd=cwd,
            env=clean_environment() | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        yield
        daemon.terminate()
        assert daemon.wait(timeout=45) == 0, log.read_text()
    finally:
        daemon.kill()
        daemon.wait()
