"""README and docs as programs: their code blocks, and how a reader would run them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .commands import lend_command
from .workers import Supervisor

__all__ = ["Block", "Reader", "blocks"]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/.-]+\.\w+)`:\s*\Z")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*\Z")
_AS_IN = re.compile(r"<!-- as in (.+) -->\s*\Z")
_NEEDS = re.compile(r"<!-- needs (.+) -->\s*\Z")
_SERVICE = re.compile(r"(\w+=\S+ )*(flask .*|python manage.py )?aiotask (worker|run) (?!.*(--burst|--help))")
_EARLY = re.compile(r"\b(PYTHON\w*|LC_\w+|LANG|AIOTASK_\w+)=|\bkill\b|\$!")
_PRINTED = re.compile(r"^\s*print\(.*\)\s+# (.+)$", re.MULTILINE)
_AWAITS = """\
import asyncio


async def _block() -> None:
{body}

asyncio.run(_block())
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    #: It is the content of this file.
    file: str = ""
    #: Why it cannot be run here.
    not_run: str = ""
    #: The page that has the same block, which is run there.
    as_in: str = ""
    #: The server without which it cannot be run.
    needs: str = ""
    #: What the page says that it prints: lines, with … for what differs.
    output: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order; a ``text`` block right below another one is what that prints."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        before, language, body = text[end : fence.start()], fence[1], fence[2]
        if language == "text" and found and not before.strip():
            above = found[-1]
            found[-1] = Block(**{**vars(above), "output": tuple(body.splitlines())})
        else:
            file, reason = _FILE.search(before), _NOT_RUN.search(before)
            as_in, needs = _AS_IN.search(before), _NEEDS.search(before)
            found.append(
                Block(
                    page,
                    text.count("\n", 0, fence.start()) + 1,
                    language,
                    body,
                    file[1] if file else "",
                    reason[1] if reason else "",
                    as_in[1] if as_in else "",
                    needs[1] if needs else "",
                )
            )
        end = fence.end()
    return found


class Reader:
    """Somebody who does what a page says, block by block, in one directory.

    Workers go on in the background until ``close``.

    Args:
        place: the directory.
        home: state directory of the embedded server; its path has to be short.
        path: directories that commands are looked for in first.
        env: further variables of the environment.
    """

    def __init__(self, place: Path, home: Path, *path: Path, env: Mapping[str, str] | None = None) -> None:
        self.place = place
        self._workers: list[Supervisor] = []
        lent = home / "bin"
        lent.mkdir(parents=True)
        variables, self._lines = lend_command(lent)
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
        self._env |= {
            "AIOTASK_HOME": str(home),
            "AIOTASK_EMBEDDED": "1",
            # Every file of the standard library would be a benchmark.
            "AIOTASK_DEMO_LIMIT": "40",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PATH": os.pathsep.join(map(str, (*path, Path(sys.executable).parent, os.environ["PATH"]))),
            **(env or {}),
        }
        # A block that tells Python or aiotask something early has to begin with a new Python.
        searched = os.pathsep.join(map(str, (*path, lent, self._env["PATH"])))
        self._shell = {**self._env, **variables, "PATH": searched}

    def follow(self, block: Block, *, run_later: bool) -> None:
        """Do what one block says; AssertionError where it fails or prints something else than the page tells.

        Args:
            run_later: it is a file that a command further down runs.
        """
        if block.language == "bash":
            if _SERVICE.match(block.text):
                self._start(block)
            else:
                env = self._env if _EARLY.search(block.text) else self._shell
                self._check(block, self._run(block, "bash", "-euo", "pipefail", "-c", block.text, env=env))
            return
        assert block.language == "python", block.place
        name = block.file or f"block_{block.line}.py"
        (self.place / name).parent.mkdir(parents=True, exist_ok=True)
        (self.place / name).write_text(as_script(block.text), encoding="utf-8")
        if not run_later:
            # A module of a package finds its neighbours from here.
            how = ("-m", name.removesuffix(".py").replace("/", ".")) if "/" in name else (name,)
            self._check(block, self._run(block, "python", *how))

    def _start(self, block: Block) -> None:
        log = self.place / f"worker-{block.line}.log"
        # A shell that is given one command becomes it, so the pid is the supervisor's.
        supervisor = Supervisor(["bash", "-c", block.text.strip()], log, self._env, self.place)
        self._workers.append(supervisor)
        supervisor.wait_for_banner()

    def _run(self, block: Block, *command: str, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=self.place,
            env=self._env if env is None else env,
            pass_fds=self._lines,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, (
            f"{block.place} ended with {done.returncode}\n{block.text}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done.stdout

    def _check(self, block: Block, printed: str) -> None:
        lines = [line.strip() for line in printed.splitlines()]
        if block.language == "python":
            told = [comment.strip() for comment in _PRINTED.findall(block.text)]
            wrong = list((Counter(told) - Counter(lines)).elements())
            assert not wrong, f"{block.place} does not print {wrong}, but\n{printed}"
        left = iter(lines)
        for expected in block.output:
            pattern = ".*".join(re.escape(part) for part in re.split(r"\s*…\s*", expected.strip()))
            assert any(re.fullmatch(pattern, line) for line in left), (
                f"{block.place} does not print\n{expected}\nin its place, but\n{printed}"
            )

    def logs(self) -> str:
        return "\n".join(worker.log for worker in self._workers)

    def close(self) -> None:
        """Stop the workers; AssertionError if one ended badly or left a child."""
        for worker in self._workers:
            left = worker.clear()
            assert not left, f"{worker.command} left {left}"
            assert worker.exit_code == 0, f"{worker.command} ended with {worker.exit_code}\n{worker.log}"


def as_script(text: str) -> str:
    """The text itself, or in an ``async def`` where it awaits at its top level."""
    if not any(_awaits(statement) for statement in ast.parse(text).body):
        return text
    return _AWAITS.format(body=textwrap.indent(text, "    "))


def _awaits(node: ast.AST) -> bool:
    kinds = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    return isinstance(node, kinds) or any(map(_awaits, _same_scope(node)))


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        yield from ast.iter_child_nodes(node)
