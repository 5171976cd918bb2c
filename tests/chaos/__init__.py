"""Chaos: hurt it in every way we know, and count with an independent ledger what was lost.

``python -m tests.chaos --list`` shows the trials, ``… NAME`` performs one in its short tier (some
seconds), ``… --full`` all of them in the full one. A seed makes what was random come again.

How to write a trial: a file ``trials/NAME.py`` with one decorated function::

    @trial(
        3,                                            # its number in the list of trials
        summary="what is done, in a line",
        passes=("clean", "consuming again within 5 s"),
        short={"jobs": 500, "seconds": 4.0},          # sizes: whatever names you like
        full={"jobs": 50_000, "seconds": 120.0},
        server=("--appendonly", "yes"),               # of the arena's server; optional
        module="tests.chaos.app",                     # the app that workers run; optional
    )
    async def name(arena: Arena, tier: Tier, rng: Random) -> Report:
        host = await arena.start_host(2)              # a real supervisor with 2 workers, in service
        producer = arena.producer()
        for n in range(tier.jobs):
            producer.send(arena.tasks.noop)           # accepted, awaited and compared by itself
            await producer.pace(1_000)                # at most so many on their way
        host.kill_worker(rng)                         # kill_keeper, kill_supervisor, kill_all, freeze, thaw
        await producer.done(30.0)                     # every await has ended, or is stuck
        report = await examine(arena)                 # ends the hosts, compares all witnesses
        report.require(x < 5, f"consuming again after {x:.1f} s, not 5 s")
        report.require_recovery("worker", 1.0)        # p99 of the faults: until what died with it starts again
        report.facts["lag"] = "12 ms"                 # shown beside
        return report

Limits of time are for the full tier; in the short one, which runs beside other tests, make them generous
(massacre multiplies them by ``tier.slack``).

The parts: ``arena.server`` (tests.server.PrivateServer: call, kill, start, pause, resume; they block,
so wrap starts in ``asyncio.to_thread``), ``arena.url``, ``arena.load(url)`` and ``start_host(url=…)``
for a proxy in between, ``arena.fault("kind", pids)`` for a fault of your own, ``arena.ledger()`` as it
is now, ``arena.tell(text, done, total)`` for progress. A task writes the ledger by ``with attempt() as
token: … return token``; tasks of your own go to ``apps/NAME.py``, which imports ``app`` from ``..app``
(and needs ``module="tests.chaos.apps.NAME"``). ``producer.send(task, …, expect=…)``: TOKEN (default),
ANYTHING, a value, or the class of the error it is to end with. What the contract allows to be lost is
moved aside, and shown, by ``report.forgive("lost", "why", ids)``. Kinds of keys that may stay:
``examine(arena, keys=(r"aside",))``. What a machine may lack is said by ``@trial(…, lacks=…)``: the trial is skipped.

Trials of rows have ``module="tests.chaos.apps.rows"``, and ``over_databases(arena, tier, play)`` performs them on each
database of ``tier.databases``. ``play`` gets a ``RowScene``: ``insert`` and ``stream`` insert rows, ``until`` waits for
what the database says. The rows that are left end after it, and are compared with the runs of the ledger.
"""
