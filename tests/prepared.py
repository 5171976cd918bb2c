"""The process that ``tests.commands`` forks commands from: the command line is loaded, and nothing has run.

Its argument is a descriptor of a socket. Each message there is one command, and brings the streams of the command and a
socket, which gets its process ID and then its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import time

__all__: list[str] = []

#: What most commands import when they run.
MODULES = (
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
        with socket.socket(fileno=answers) as told:
            told.send(str(child).encode())
            _, status = os.waitpid(child, 0)
            told.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(answers)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    command = json.loads(request)
    os.environ.clear()
    os.environ.update(command["env"])
    time.tzset()
    os.chdir(command["cwd"])
    sys.path[:1] = [command["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["aiotask", *command["arguments"]]


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])))
    from aiotask_cli.start import main

    main()
