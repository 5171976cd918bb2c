"""Traps of servers, libraries and interpreters that were met by experiment, and the tests that hold their remedies.

Each test that carries ``@pytest.mark.trap("name")``, in ``measured`` or in the file where it belongs, fails when
its remedy is taken away: that was tried for every one of them. ``pytest -m trap`` runs them all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: What goes wrong if nothing is done about it. Plain costs (bytes per entry, server time per script) are no
#: traps: they stand in the documentation.
TRAPS = {
    # the server
    "read of the dead": "a read that blocks goes on after its consumer was deleted, makes it anew and strands a job",
    "stranded in the living": "an answer lost with its connection leaves its jobs in the pending list of who lives",
    "cancelled read": "a blocking read that is cancelled as a job arrives takes the job with it",
    "blocking script": "a script that blocks is an error on one server and does not block on the other",
    "count per stream": "a read over several streams brings its count from each of them",
    "large script": "a script over a thousand entries keeps all others waiting, one over 8,000 breaks halfway",
    "full memory": "a full server refuses the script that would make room",
    "server clock": "what expires by the clock of the server is gone after a pause of it, though its owner lives",
    "silent loss": "a subscriber that is slow loses its messages and hears nothing of it",
    "data of another kind": "Redis cannot read what Valkey wrote",
    "old server": "a server older than 6.2 refuses many commands, each in words of its own",
    # the client library
    "library repeats": "redis-py repeats by itself what may have run already",
    "server that hangs": "a call to a server that is stopped does not end",
    "slow line": "a time limit for a whole answer asks for ever for what does not fit into it",
    # processes
    "limit hits the next": "an interrupt for one job arrives in the one that follows it",
    "signal in C": "no handler of a signal runs while the main thread is in C",
    "out of reach": "code that holds the GIL, or a process that is stopped, does not react to anything",
    "loop stands still": "jobs wait behind a loop that stands still, though others are free",
    "grandchildren": "what a worker has started lives on when the worker is killed",
    "orphaned workers": "workers whose supervisor and keeper are gone work on, unseen; those of a thread die with it",
    "late answers": "a main thread that computes delays the loop by the switch interval of the GIL",
    "copied memory": "a garbage collection after the fork copies all that was shared",
    # the sender
    "last words": "a send right before the end of loop or interpreter is dropped, and no thread can start any more",
    "silent cancel": "a CancelledError that travels ends the caller's TaskGroup as if nothing had failed",
    "raised twice": "one exception that is raised twice grows its traceback",
    "task per handle": "a task for every awaited handle costs more than all the rest",
    "descriptors": "each asyncio.run leaves a socket behind",
    # calendars
    "hour that comes twice": "asked from within it for the next run, the cron library names a moment in the past",
    "zone without data": "a slim image has no data of time zones, and a keeper there would stop at the first schedule",
    # limits, keys and streams
    "token of a refusal": "a start that one of two rates refuses has taken the token of the other",
    "short block": "a read that blocks for 5 ms returns after 100 ms: a worker that waits so starts too little",
    "slot of the dead": "a job that is served to a dead worker keeps its slot for ever",
    "limit of nobody": "jobs of a limit whose numbers are not known yet start as if there was none",
    "stranger in a line": "a key that begins as a line does is taken for one",
    "older worker": "a worker of a release without limits neither recovers nor keeps their jobs",
    "key of another": "the late end of a job frees the key that another job has by now",
    "late item": "an item that was published is lost with the subscription, or comes before an earlier one",
    "position that is none": "a reader with a bad position reads from the beginning, and has all items twice",
    "generator in its yield": "an async generator whose reader is gone is suspended, and its finally does not run",
    # code that travels
    "other Python": "code by value of another minor version crashes who loads it",
    "slow import": "redis, pydantic, cloudpickle, uvloop and sqlite3 cost a third of a second at import",
    "top-level cli": "an installed folder named cli shadows the one of the user",
}


def marked() -> Iterator[tuple[str, str]]:
    """Trap and place of every mark in the tests."""
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_text()
        for function in ast.walk(ast.parse(source if "mark.trap(" in source else "")):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in function.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.trap":
                        yield ast.literal_eval(decorator.args[0]), f"{path.name}::{function.name}"


def test_every_trap_has_a_test_and_every_mark_a_trap() -> None:
    held = list(marked())
    assert {trap for trap, _ in held} == set(TRAPS)
    assert all(place.split("::")[1].startswith("test_") for _, place in held)
