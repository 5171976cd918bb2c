"""The app of each queue that comparison_rows.py measures, written as the quick start of that queue has it.

Each has the functions that its agent calls: setup() makes the tables, send(first, last) commits jobs with these
numbers, fill(count) leaves behind what finished jobs leave, claim() takes what a worker takes at once and returns how
many jobs that are, and recover(), where the documentation has the user call a recovery, does what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

# The job in the middle takes half a second, so that its worker can be killed while it runs; the others 1 ms.
COMMON = """
import os, time
LEDGER = os.open(os.environ["SHOP_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def say(what, number):
    os.write(LEDGER, f"{time.time()} {os.getpid()} {what} {number}\\n".encode())
def seconds(number):
    return 0.5 if number == int(os.environ["SHOP_KILLED"]) else 0.001
def work(number):
    say("begin", number)
    time.sleep(seconds(number))
    say("end", number)
"""

_AIOTASK = """
import asyncio
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from aiotask import App
from aiotask.sql import RowJob, create_tables
app = App("shop", database=DATABASE)
class Base(DeclarativeBase):
    pass
@app.row
class Job(RowJob, Base):
    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    RUN
def setup():
    create_tables(app)
def send(first, last):
    with app.session() as session:
        session.add_all(Job(number=number) for number in range(first, last + 1))
def fill(count):
    with app.session() as session:
        session.execute(sa.insert(Job), [{"number": number, "status": "SUCCESS"} for number in range(count)])
loop = asyncio.new_event_loop()
broker = None
async def take():
    global broker
    if broker is None:
        broker = app.rows.broker()
        await broker.open()
        await broker.enlist("host.1", "host", b"")
    # 10, as pgqueuer does; a worker claims up to 250.
    return await broker.claim("host.1", app.rows.queues, (), 10)
def claim():
    return len(loop.run_until_complete(take()).deliveries)
"""

_RUN = """def run(self) -> None:
        work(self.number)"""
_ASYNC_RUN = """async def run(self) -> None:
        say("begin", self.number)
        await asyncio.sleep(seconds(self.number))
        say("end", self.number)"""
_IN_POSTGRES = """
DATABASE = "postgresql://shop@/" + os.environ["PGDATABASE"] + "?host=" + os.environ["PGHOST"]
"""
_IN_SQLITE = """
DATABASE = "sqlite:///" + os.environ["SHOP_FILE"]
"""
AIOTASK_POSTGRES = _IN_POSTGRES + _AIOTASK.replace("RUN", _RUN)
AIOTASK_SQLITE = _IN_SQLITE + _AIOTASK.replace("RUN", _RUN)
AIOTASK_ASYNC = _IN_POSTGRES + _AIOTASK.replace("RUN", _ASYNC_RUN)

PROCRASTINATE = """
import asyncio, subprocess, sys
import psycopg
from procrastinate import App, PsycopgConnector
app = App(connector=PsycopgConnector())
@app.task(name="job")
def job(number): work(number)
def setup():
    subprocess.run([sys.executable, "-m", "procrastinate", "--app=shop.app", "schema", "--apply"], check=True,
                   stdout=subprocess.DEVNULL)
    app.open()
def send(first, last):
    job.batch_defer(*({"number": number} for number in range(first, last + 1)))
def fill(count):
    with psycopg.connect() as connection:
        connection.execute("INSERT INTO procrastinate_jobs (queue_name, task_name, args, status) SELECT 'default', "
            "'job', jsonb_build_object('number', n), 'succeeded' FROM generate_series(1, %s) n", (count,))
        connection.execute("INSERT INTO procrastinate_events (job_id, type) "
            "SELECT id, type::procrastinate_job_event_type FROM procrastinate_jobs, "
            "unnest(ARRAY['started', 'succeeded']) AS type")
loop = asyncio.new_event_loop()
worker = None
async def take():
    global worker
    if worker is None:
        await app.open_async()
        worker = await app.job_manager.register_worker()
    assert await app.job_manager.fetch_job(queues=None, worker_id=worker)
def claim():
    loop.run_until_complete(take())
    return 1
async def retry_stalled():
    async with app.open_async():
        for stalled in await app.job_manager.get_stalled_jobs():
            await app.job_manager.retry_job(stalled)
def recover():
    asyncio.run(retry_stalled())
"""

PGQUEUER = """
import asyncio, subprocess, sys, uuid
from contextlib import asynccontextmanager
from datetime import timedelta
import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
@asynccontextmanager
async def main():
    pgq = PgQueuer.from_asyncpg_connection(await asyncpg.connect())
    @pgq.entrypoint("job")
    async def job(job):
        number = int(job.payload)
        say("begin", number)
        await asyncio.sleep(seconds(number))
        say("end", number)
    yield pgq
loop = asyncio.new_event_loop()
queries = connection = None
async def connect():
    global queries, connection
    connection = await asyncpg.connect()
    queries = Queries(AsyncpgDriver(connection))
def setup():
    subprocess.run([sys.executable, "-m", "pgqueuer", "install"], check=True)
    loop.run_until_complete(connect())
def send(first, last):
    numbers = range(first, last + 1)
    loop.run_until_complete(queries.enqueue(
        ["job"] * len(numbers), [str(number).encode() for number in numbers], [0] * len(numbers)))
def fill(count):
    loop.run_until_complete(connection.execute("INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, "
        "aggregated) SELECT n, status::pgqueuer_status, 0, 'job', true FROM generate_series(1, %d) n, "
        "unnest(ARRAY['queued', 'picked', 'successful']) AS status" % count))
manager = uuid.uuid4()
def claim():
    # 10 is the default batch of `pgq run`.
    jobs = loop.run_until_complete(queries.dequeue(
        10, {"job": EntrypointExecutionParameter(concurrency_limit=0)}, manager, None, timedelta(seconds=30)))
    return len(jobs)
"""

_HUEY = """
@huey.task()
def job(number): work(number)
def setup():
    pass
def send(first, last):
    for number in range(first, last + 1):
        job(number)
def claim():
    assert huey.storage.dequeue() is not None
    return 1
"""

HUEY_SQLITE = f"""
from huey import SqliteHuey
huey = SqliteHuey("shop", filename=os.environ["SHOP_FILE"])
{_HUEY}
def fill(count):
    with huey.storage.db(commit=True) as cursor:
        cursor.executemany("INSERT INTO kv VALUES ('shop', ?, x'01')", ((str(number),) for number in range(count)))
"""

HUEY_SQL = f"""
from huey.contrib.sql_huey import SqlHuey
from peewee import PostgresqlDatabase
huey = SqlHuey("shop", database=PostgresqlDatabase(os.environ["PGDATABASE"]))
{_HUEY}
def fill(count):
    huey.storage.database.execute_sql(
        "INSERT INTO kv SELECT 'shop', n::text, '\\\\x01' FROM generate_series(1, %s) n", (count,))
"""

HUEY_POSTGRES = f"""
from huey import PostgresHuey
huey = PostgresHuey("shop", dsn="")
{_HUEY}
def fill(count):
    with huey.storage.db(commit=True) as cursor:
        cursor.execute(
            "INSERT INTO huey_kv SELECT 'shop', n::text, '\\\\x01' FROM generate_series(1, %s) n", (count,))
"""


@dataclass(frozen=True)
class Queue:
    """One queue: its package, its app, the command of its worker, and how many of that command are two processes."""

    package: str
    app: str
    worker: tuple[str, ...]
    commands: int
    #: Its documentation has a recovery that the user is to call: the app's recover().
    recovers: bool = False

    def version(self) -> str:
        return f"{self.package} {metadata.version(self.package)}"


_HUEY_WORKER = ("-m", "huey.bin.huey_consumer", "shop.huey", "-k", "process", "-w", "2")

_AIOTASK_WORKER = ("-m", "aiotask_cli", "worker", "shop", "-c", "2")

QUEUES = {
    "aiotask-postgres": Queue("aiotask", AIOTASK_POSTGRES, _AIOTASK_WORKER, 1),
    "aiotask-async": Queue("aiotask", AIOTASK_ASYNC, _AIOTASK_WORKER, 1),
    "aiotask-sqlite": Queue("aiotask", AIOTASK_SQLITE, _AIOTASK_WORKER, 1),
    "procrastinate": Queue(
        "procrastinate", PROCRASTINATE, ("-m", "procrastinate", "--app=shop.app", "worker"), 2, recovers=True
    ),
    "pgqueuer": Queue("pgqueuer", PGQUEUER, ("-m", "pgqueuer", "run", "shop:main"), 2),
    "huey-postgres": Queue("huey", HUEY_POSTGRES, _HUEY_WORKER, 1),
    "huey-sql": Queue("huey", HUEY_SQL, _HUEY_WORKER, 1),
    "huey-sqlite": Queue("huey", HUEY_SQLITE, _HUEY_WORKER, 1),
}
