"""The queues that are compared: what is installed, with which Python, and how each one is set."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OURS", "PEERS", "PINNED", "Peer", "chosen"]

OURS = "aiotask"
#: The day on which these versions were the newest.
PINNED = "2026-11-22"

_ASYNC_SPEED = ("hiredis==3.5.0", "uvloop==0.23.0")


@dataclass(frozen=True, slots=True)
class Peer:
    """One queue; its tasks, commands and client are in ``adapters/NAME.py``."""

    name: str
    title: str
    requires: tuple[str, ...]
    #: What a program that sends jobs imports.
    imports: str
    #: How it is set for everything, and what differs for CPU-bound jobs and for recovery.
    settings: str
    cpu: str = "the same"
    recovery: str = "the same"
    #: Kinds of task that it runs; the first one is what it is made for.
    kinds: tuple[str, ...] = ("async",)
    #: Whether it keeps track of jobs that run, so that those of a dead worker can run again.
    gives_back: bool = True
    #: The oldest Python that it runs on.
    python: tuple[int, int] = (3, 11)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            OURS,
            "aiotask",
            (),
            "import aiotask",
            "defaults; `aiotask worker --concurrency P`; messages sealed (`AIOTASK_SECRET`); uvloop in the client too",
            kinds=("async", "sync"),
        ),
        Peer(
            "celery",
            "Celery",
            ("celery[redis]==5.7.0", "hiredis==3.5.0"),
            "from celery import Celery",
            "prefork `-c P`, `-O fair`, prefetch multiplier 64, no gossip, mingle and heartbeat, rate limits off",
            "prefetch multiplier 1",
            "`acks_late`, `reject_on_worker_lost`, prefetch multiplier 1, `visibility_timeout` 5 s, restored every 1 s",
            kinds=("sync",),
        ),
        Peer(
            "arq",
            "arq",
            ("arq==0.28.0", *_ASYNC_SPEED),
            "import arq",
            "`max_jobs` 100, `poll_delay` of worker and result 5 ms (default 500 ms), P commands",
            "`max_jobs` 1, `queue_read_limit` 4",
            "`job_timeout` 2 s: a claim lasts 10 s longer than that",
        ),
        Peer(
            "taskiq",
            "taskiq",
            ("taskiq==0.13.0", "taskiq-redis==1.2.4", *_ASYNC_SPEED),
            "import taskiq_redis",
            "`RedisStreamBroker` (acknowledges), `xread_count` 100, `--max-async-tasks` 100, `--max-prefetch` 100, "
            "`--no-parse`, result check every 5 ms (default 200 ms)",
            "one task at a time, `--max-prefetch` 0, `xread_count` 1, one thread",
            "`idle_timeout` 5 s, lock of its sweep 1 s, batch of 1,000",
            kinds=("async", "sync"),
        ),
        Peer(
            "dramatiq",
            "Dramatiq",
            ("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
            "import dramatiq",
            "`--processes P --threads 16`",
            "`--threads 1`",
            "`heartbeat_timeout` 5 s, maintenance with every command",
            kinds=("sync",),
        ),
        Peer(
            "saq",
            "SAQ",
            # It imports typing_extensions without requiring it.
            ("saq[redis,hiredis]==0.26.4", "typing_extensions", "uvloop==0.23.0"),
            "import saq",
            "`concurrency` 100, `--workers P`, `retries` 5 (with 1 its sweep aborts jobs), 100 sends at a time",
            "`concurrency` 1",
            "`timeout` of a job 2 s, sweep every 1 s",
            kinds=("async", "sync"),
        ),
        Peer(
            "streaq",
            "streaQ",
            ("streaq==7.2.0", "uvloop==0.23.0"),
            "import streaq",
            "`concurrency` 100, `prefetch` 100, silent tasks, 1,000 connections, `--workers P`",
            "`concurrency` 1, `prefetch` 1",
            "`idle_timeout` 5 s",
            kinds=("async", "sync"),
        ),
        Peer(
            "rq",
            "RQ",
            ("rq==3.0.0", "hiredis==3.5.0"),
            "import rq",
            "`SimpleWorker` (its default worker forks for each job, which is slower), P commands, no log of jobs",
            recovery="`Retry(3)`, job timeout 2 s, maintenance every 2 s, `--worker-ttl` 20 s",
            kinds=("sync",),
        ),
        Peer(
            "huey",
            "Huey",
            ("huey==3.5.4", "redis[hiredis]>=6.4"),
            "import huey",
            "`RedisHuey`, `notify_result`, `-k thread -w 4`, P commands",
            "`-w 1`",
            "nothing to set: a job that was taken is not kept; waited for 10 s only",
            kinds=("sync",),
            gives_back=False,
        ),
        Peer(
            "docket",
            "docket",
            ("pydocket==0.27.0", *_ASYNC_SPEED),
            "import docket",
            "`Worker` class (its command takes whole seconds only), `concurrency` 100, check every 10 ms, "
            "1,000 connections, P processes",
            "`concurrency` 1",
            "`redelivery_timeout` 5 s",
        ),
        Peer(
            "ardiq",
            "ArdiQ",
            ("ardiq==1.2.0", *_ASYNC_SPEED),
            "import ardiq",
            "`concurrency` 100, `prefetch` 100, `--workers P`",
            "`concurrency` 1, `prefetch` 1",
            "`idle_timeout_ms` 5,000",
            kinds=("async", "sync"),
            python=(3, 12),
        ),
    )
}


def chosen(names: str) -> list[Peer]:
    """The peers that a list like ``celery,arq`` or ``all`` names, with aiotask in front.

    Raises:
        ValueError: one of them is not in the catalog.
    """
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    if "all" in wanted:
        return list(PEERS.values())
    for name in wanted:
        if name not in PEERS:
            raise ValueError(f'there is no peer "{name}"; there are {", ".join(PEERS)}, and all')
    return [PEERS[name] for name in dict.fromkeys([OURS, *wanted])]
