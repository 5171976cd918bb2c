"""The process that ``tests.commands`` forks commands from: the code of the command is loaded, and nothing has run.

Its arguments are what it is to load, further modules, and a descriptor of a socket. Each message there is one command,
and brings the streams of the command and a socket, which gets its process ID and then its exit code.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import random
import runpy
import signal
import socket
import sys
import time
from typing import IO, NoReturn, cast

__all__: list[str] = []

#: What most commands import when they run.
COMMANDS = (
    "aiotask_cli.main",
    "aiotask_cli.failure",
    "aiotask.ops.actions",
    "aiotask.ops.jobs",
    "aiotask.ops.checks",
    "aiotask.ops.graphs",
    "aiotask.ops.letters",
    "aiotask.brokers.redis.connection",
    "aiotask.brokers.redis.technology",
    "rich.console",
    "rich.table",
    "typer._adapters",
)
#: What `aiotask worker` imports.
WORKERS = (
    "aiotask_cli.main",
    "typer._adapters",
    "aiotask.daemon.supervisor",
    "aiotask.daemon.keeper_process",
    "aiotask.brokers.redis.connection",
    "aiotask.brokers.redis.technology",
    "email.parser",
)


def serve(line: socket.socket) -> None:
    """Return in each process that is to be a command; end once nobody can ask for one any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 4)
        if not request:
            sys.exit()
        if not os.fork():
            line.close()
            return begin(request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def begin(request: bytes, *descriptors: int) -> None:
    """Return as the process of the command, whose end the one that began it tells."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, answers = descriptors
    if child := os.fork():
        for descriptor in streams:
            os.close(descriptor)
        with socket.socket(fileno=answers) as told:
            told.send(str(child).encode())
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            told.send(str(code).encode())
            # Its ID stays taken until that has been read, as with any child.
            told.recv(1)
            os.waitpid(child, 0)
        os._exit(0)
    os.close(answers)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for name in ("stdout", "stderr"):
        setattr(sys, name, fitting(getattr(sys, name)))
    command = json.loads(request)
    before = len(_python_path()) + (not sys.flags.safe_path)
    os.environ.clear()
    os.environ.update(command["env"])
    time.tzset()
    random.seed()
    os.chdir(command["cwd"])
    if command["session"]:
        os.setsid()
    # In place of the directory of this file, and of what this process was given.
    sys.path[:before] = [*([] if sys.flags.safe_path else [command["cwd"]]), *_python_path()]
    sys.argv = ["aiotask", *command["arguments"]]


def fitting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The stream; another one if it was opened on a file and now has a pipe, which has no place to look for."""
    if not stream.seekable():
        return stream
    try:
        os.lseek(stream.fileno(), 0, os.SEEK_CUR)
    except OSError:
        binary = io.FileIO(stream.fileno(), "wb", closefd=False)
        return io.TextIOWrapper(
            cast("IO[bytes]", binary) if stream.write_through else io.BufferedWriter(binary),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
    return stream


def _python_path() -> list[str]:
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]


class Replaced(BaseException):
    """This process is to run another program from here on."""


def replace(program: str, arguments: list[str]) -> NoReturn:
    """In place of ``os.execv``, whose new Python would load everything again."""
    raise Replaced(arguments)


def run() -> None:
    """Run the command; where it becomes another Python program, that one, as its main program."""
    from aiotask_cli.start import main

    streams = (sys.stdout, sys.stderr)
    usual = [{"errors": each.errors, "line_buffering": each.line_buffering} for each in streams]
    execute, os.execv = os.execv, replace  # type: ignore[assignment]
    try:
        main()
    except Replaced as replaced:
        _, name, *sys.argv[1:] = replaced.args[0][replaced.args[0].index("-m") :]
    finally:
        os.execv = execute
    # A new Python would open them again.
    for stream, options in zip(streams, usual, strict=True):
        stream.reconfigure(**options)
    sys.modules.pop(name, None)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    what, further, descriptor = sys.argv[1:4]
    for module in COMMANDS if what == "commands" else WORKERS:
        importlib.import_module(module)
    if what == "workers":
        importlib.import_module("aiotask.daemon.preload").import_library()
    for module in filter(None, further.split(",")):
        importlib.import_module(module)
    # The first one loads the plugins of pydantic.
    importlib.import_module("pydantic").TypeAdapter(str)
    gc.collect()
    # A collection in a fork would copy all that is loaded here.
    gc.freeze()
    serve(socket.socket(fileno=int(descriptor)))
    if what == "workers":
        run()
    else:
        from aiotask_cli.start import main

        main()
