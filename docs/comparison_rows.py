"""Measure queues whose jobs are rows of a database: a killed worker, the wake-up, and a claim beside finished jobs.

Run it in an environment where the queues are installed, with PostgreSQL's initdb on the machine::

    pip install 'aiotask[postgres]' procrastinate 'pgqueuer[asyncpg]' 'typer<0.21' huey peewee psycopg2-binary
    python docs/comparison_rows.py                               # all of them
    python docs/comparison_rows.py pgqueuer huey-sql --only wake

pgqueuer 1.6.0 does not start its worker with newer releases of typer.

It starts a PostgreSQL of its own with the defaults of that server, and each queue with its defaults and two worker
processes. A job writes a line to a file when it begins and when it ends; these lines are what is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from comparison import until
from comparison_rows_apps import COMMON, QUEUES

JOBS = 10_000
#: The job during which its worker is killed.
KILLED = JOBS // 2
FINISHED = 200_000
CLAIMS = 200
#: Seconds that the work itself may take.
WORK_TIMEOUT = 300.0
#: Seconds without the end of a job after which the workers are taken to be idle.
QUIET = 10.0

# Runs the functions of shop.py in a process of its own, on request, and answers with the time and the duration.
AGENT = """
import sys, time, shop
for line in sys.stdin:
    verb, *numbers = line.split()
    at, start = time.time(), time.perf_counter()
    answer = getattr(shop, verb)(*map(int, numbers))
    print(at, time.perf_counter() - start, answer, flush=True)
"""


class Postgres:
    """A cluster in a temporary folder and on a unix socket; PostgreSQL refuses to be run by root."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.user = "nobody" if os.geteuid() == 0 else None
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
        found = shutil.which("initdb")
        self.programs = Path(found).resolve().parent if found else debian[-1]
        if self.user:
            subprocess.run(["chown", self.user, str(place)], check=True)
        self._run("initdb", "-D", str(place / "data"), "-U", "shop", "-A", "trust", "-E", "UTF8", "--locale=C")
        with (place / "log").open("ab") as log:
            options = ("-D", str(place / "data"), "-k", str(place), "-c", "listen_addresses=")
            command = [str(self.programs / "postgres"), *options]
            self.server = subprocess.Popen(command, user=self.user, cwd="/", stdout=log, stderr=log)
        ready = [str(self.programs / "pg_isready"), "-h", str(place), "-q"]
        if not until(lambda: subprocess.run(ready).returncode == 0, 60):
            raise RuntimeError((place / "log").read_text())

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, user=self.user, cwd="/", check=True, capture_output=True, text=True)
        return done.stdout

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self._run("psql", "-h", str(self.place), "-U", "shop", "-d", database, "-qAtc", statement)

    def stop(self) -> None:
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait()


class Ledger:
    """What the jobs of one shop have said. Each read takes up where the last one stopped."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.begins: dict[int, list[tuple[float, int]]] = {}
        self.ends: Counter[int] = Counter()
        self.times: list[float] = []

    def read(self) -> Ledger:
        if self.path.exists():
            with self.path.open() as file:
                file.seek(self.offset)
                text = file.read()
            whole = text[: text.rfind("\n") + 1]
            self.offset += len(whole)
            for line in whole.splitlines():
                at, pid, what, number = line.split()
                self._note(float(at), int(pid), what, int(number))
        return self

    def _note(self, at: float, pid: int, what: str, number: int) -> None:
        if what == "begin":
            self.begins.setdefault(number, []).append((at, pid))
        else:
            self.ends[number] += 1
            self.times.append(at)


class Shop:
    """One queue with a database of its own: its app in a folder, an agent that calls it, and its workers."""

    def __init__(self, name: str, postgres: Postgres, place: Path) -> None:
        self.name, self.queue, self.place = name, QUEUES[name], place
        place.mkdir()
        (place / "shop.py").write_text(COMMON + self.queue.app)
        self.ledger = Ledger(place / "ledger")
        self.database = place.name.replace("-", "_")
        postgres.sql(f"CREATE DATABASE {self.database}")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("AIOTASK_", "PG"))}
        self.env |= {
            "PGHOST": str(postgres.place),
            "PGUSER": "shop",
            "PGDATABASE": self.database,
            "PYTHONPATH": str(place),
            "SHOP_LEDGER": str(self.ledger.path),
            "SHOP_FILE": str(place / "shop.db"),
            "SHOP_KILLED": str(KILLED),
        }
        self.log = (place / "log").open("ab")
        self.agent = self._start(("-c", AGENT), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.workers: list[subprocess.Popen[str]] = []
        self.killed_at = 0.0
        self.ask("setup")

    def _start(self, command: Iterable[str], stdin: int, stdout: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.place,
            env=self.env,
            stdin=stdin,
            stdout=stdout if stdout is not None else self.log,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )

    def ask(self, verb: str, *numbers: int) -> tuple[float, float, str]:
        """Call a function of the app in the agent: the time of the call, its seconds, and what it returned."""
        assert self.agent.stdin is not None and self.agent.stdout is not None
        print(verb, *numbers, file=self.agent.stdin, flush=True)
        answer = self.agent.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name}: {verb} failed: {(self.place / 'log').read_text()[-2000:]}")
        at, seconds, returned = answer.split(maxsplit=2)
        return float(at), float(seconds), returned.strip()

    def start_workers(self) -> None:
        for _ in range(self.queue.commands):
            self.workers.append(self._start(self.queue.worker, stdin=subprocess.DEVNULL))

    def revive(self) -> None:
        """Start a worker command that has ended again, as systemd would do."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[number] = self._start(self.queue.worker, stdin=subprocess.DEVNULL)

    def has_begun(self, jobs: int) -> bool:
        """Wait until as many jobs have begun."""
        return until(lambda: len(self.ledger.read().begins) >= jobs, 60)

    def stop(self) -> None:
        """Send SIGKILL to the processes of this shop: nothing of it is needed any more."""
        for process in (*self.workers, self.agent):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()
        if os.environ.get("SHOW_LOG"):
            print((self.place / "log").read_text()[-3000:])


def work_and_kill(shop: Shop) -> None:
    """Run the jobs with two worker processes, and kill the one that has begun the job in the middle."""
    shop.ask("send", 1, JOBS)
    shop.start_workers()
    if not until(lambda: KILLED in shop.ledger.read().begins, WORK_TIMEOUT):
        raise RuntimeError(f"{shop.name}: {(shop.place / 'log').read_text()[-2000:]}")
    shop.killed_at = time.time()
    os.kill(shop.ledger.begins[KILLED][0][1], signal.SIGKILL)

    def idle() -> bool:
        shop.revive()
        ledger = shop.ledger.read()
        return len(ledger.ends) == JOBS or time.time() - max(ledger.times) > QUIET

    until(idle, WORK_TIMEOUT)


def settle(shop: Shop, patience: float) -> str:
    """Wait for what the killed process held; then call what the documentation of the queue says, and wait again."""

    def done() -> bool:
        return len(shop.ledger.read().ends) == JOBS

    until(done, max(0.0, shop.killed_at + patience - time.time()))
    helped = ""
    if not done() and shop.queue.recovers:
        helped_at, _, _ = shop.ask("recover")
        until(done, patience)
        again = shop.ledger.begins[KILLED][1:]
        helped = f"; not by itself within {patience:.0f} s, " + (
            f"{again[0][0] - helped_at:.1f} s after the documented recovery was called" if again else "nor with help"
        )
    return _counts(shop) + helped


def _counts(shop: Shop) -> str:
    """How often the jobs ended, what ran again and when, and how the other jobs went on."""
    ledger, at = shop.ledger.read(), shop.killed_at
    often = Counter(ledger.ends.values())
    lost = JOBS - len(ledger.ends)
    again = [when for when, _ in ledger.begins[KILLED] if when > at]
    held = [begins for begins in ledger.begins.values() if any(when > at for when, _ in begins[1:])]
    last = max((begins[-1][0] for begins in held), default=at)
    # The end of the work: what is still missing then is what the killed process held.
    times = sorted(ledger.times)[: JOBS * 99 // 100]
    after = [when for when in times if when > at]
    pause = max((late - early for early, late in pairwise([at, *after])), default=0.0)
    first = min(begins[0][0] for begins in ledger.begins.values())
    return (
        f"once {often[1]}, more often {len(ledger.ends) - often[1]}, lost {lost}; the killed job began again "
        f"{f'{again[0] - at:.1f} s later' if again else 'never'}; {len(held)} begun again, the last after "
        f"{last - at:.1f} s; 99 % done in {times[-1] - first:.0f} s, no pause after the kill longer than {pause:.1f} s"
    )


def wake(shops: list[Shop], rounds: int, gap: float) -> None:
    """One job at a time to idle workers, in turn to each queue: from the call that commits it to its first line."""
    for shop in shops:
        shop.start_workers()
    # One job makes sure that the workers are there.
    for shop in shops:
        shop.ask("send", 1, 1)
        if not shop.has_begun(1):
            raise RuntimeError(f"{shop.name} is not awake: {(shop.place / 'log').read_text()[-2000:]}")
    sent: dict[tuple[str, int], float] = {}
    for number in range(2, rounds + 2):
        for shop in random.sample(shops, len(shops)):
            time.sleep(gap * random.uniform(0.5, 1.5) / len(shops))
            sent[shop.name, number], _, _ = shop.ask("send", number, number)
    for shop in shops:
        if not shop.has_begun(rounds + 1):
            raise RuntimeError(f"{shop.name} lost a job while nothing was killed")
        begins = shop.ledger.begins
        took = [1000 * (begins[number][0][0] - at) for (name, number), at in sent.items() if name == shop.name]
        cut = statistics.quantiles(took, n=100, method="inclusive")
        print(
            f"{shop.name} | wake | p50 {cut[49]:.1f} ms, p99 {cut[98]:.1f} ms, most {max(took):.1f} ms of {len(took)}",
            flush=True,
        )


def claim(empty: Shop, full: Shop, postgres: Postgres) -> None:
    """Claims in turn from a table without finished jobs and from one beside 200,000 of them."""
    full.ask("fill", FINISHED)
    for shop in (empty, full):
        shop.ask("send", FINISHED + 1, FINISHED + 1 + 12 * CLAIMS)
        postgres.sql("VACUUM ANALYZE", shop.database)
    took: dict[Shop, list[float]] = {empty: [], full: []}
    size = ""
    for _ in range(CLAIMS):
        for shop in (empty, full):
            _, seconds, size = shop.ask("claim")
            took[shop].append(1000 * seconds)
    alone, beside = (statistics.median(took[shop]) for shop in (empty, full))
    print(
        f"{empty.name} | claim | {alone:.2f} ms alone, {beside:.2f} ms beside {FINISHED} finished "
        f"({beside / alone:.2f} x), {size} job(s) a claim",
        flush=True,
    )


def measure(names: list[str], only: str, arguments: argparse.Namespace, place: Path) -> None:
    (place / "pg").mkdir()
    postgres = Postgres(place / "pg")
    shops: list[Shop] = []

    def shop(name: str, what: str) -> Shop:
        shops.append(Shop(name, postgres, place / f"{name}-{what}"))
        return shops[-1]

    def close() -> None:
        while shops:
            shops.pop().stop()

    try:
        for name in names:
            print(f"{name} | version | {QUEUES[name].version()}", flush=True)
        if only in {"", "claim"}:
            for name in names:
                claim(shop(name, "empty"), shop(name, "full"), postgres)
                close()
        if only in {"", "wake"}:
            wake([shop(name, "wake") for name in names], arguments.wakes, arguments.gap)
            close()
        if only in {"", "kill"}:
            for number in range(arguments.rounds):
                for name in random.sample(names, len(names)):
                    work_and_kill(shop(name, f"kill{number}"))
            for each in shops:
                print(f"{each.name} | kill | {settle(each, arguments.patience)}", flush=True)
    finally:
        close()
        postgres.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queues", nargs="*", help=f"some of {', '.join(QUEUES)}")
    parser.add_argument("--only", choices=["kill", "wake", "claim"], default="", help="one experiment instead of all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each queue works and is killed")
    parser.add_argument("--wakes", type=int, default=200, help="how many jobs each idle queue gets")
    parser.add_argument("--gap", type=float, default=1.0, help="seconds between two jobs of an idle queue, on average")
    parser.add_argument("--patience", type=float, default=120, help="seconds that a killed job gets to run again")
    arguments = parser.parse_args()
    unknown = set(arguments.queues) - set(QUEUES)
    if unknown:
        parser.error(f"unknown queue {', '.join(sorted(unknown))}: there are {', '.join(QUEUES)}")
    with tempfile.TemporaryDirectory(prefix="shop-", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)
        measure(arguments.queues or list(QUEUES), arguments.only, arguments, Path(directory))


if __name__ == "__main__":
    main()
