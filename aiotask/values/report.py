"""What a host reports of itself every few seconds."""

from __future__ import annotations

import msgspec

from ..errors import SealError

__all__ = ["EXITS", "HostReport", "LostHost", "ProcessReport", "RunningJob", "decode_report", "encode_report"]


#: Why worker processes end. They had nothing left to do, or were replaced; their exit code or a signal; they took too
#: much memory of the machine; a job went beyond its limit, or the process was stuck; they could not load the app.
EXITS = ("done", "exit_code", "signal", "out_of_memory", "killed", "not_loaded")


class ProcessReport(msgspec.Struct, frozen=True, array_like=True):
    """One worker process of a host."""

    pid: int
    #: Its names on the broker.
    incarnations: list[str] = []
    #: Bytes of memory that it holds, and CPU seconds that it has used.
    memory: int = 0
    cpu: float = 0.0
    #: Seconds that its event loop was late at most within the last 5 s, and since it last turned.
    lag: float = 0.0
    still: float = 0.0
    #: Jobs that run, and how many have started since it began.
    running: int = 0
    started: int = 0
    #: CPUs that it has used on average since some seconds ago; 1.0: one of them all the time.
    busy: float = 0.0


class RunningJob(msgspec.Struct, frozen=True, array_like=True):
    """A job that runs on a host."""

    id: str
    task: str = ""
    pid: int = 0
    #: Seconds since it started, and until its time limit; None: it has none.
    seconds: float = 0.0
    left: float | None = None
    #: Whether the event loop has been in its code for a second or more; whether it waits for another job.
    blocks: bool = False
    waits: bool = False


class HostReport(msgspec.Struct, frozen=True):
    """One host and its worker processes, for one app."""

    host: str
    #: Seconds since the broker has had it, and so since the host has been heard of.
    age: float = 0.0
    pid: int = 0
    machine: str = ""
    #: Releases of aiotask and Python, and of the app (``AIOTASK_RELEASE``).
    aiotask: str = ""
    python: str = ""
    release: str = ""
    #: Worker processes that are to be there, and that serve.
    wanted: int = 0
    serving: int = 0
    stopping: bool = False
    processes: list[ProcessReport] = []
    #: The 100 jobs that have run longest.
    running: list[RunningJob] = []
    #: How many processes have ended, by reason, since the host began.
    exits: dict[str, int] = {}
    #: Jobs that the keeper has given back since it began.
    recovered: int = 0
    #: Seconds that the broker's last answer to a report took.
    broker: float = 0.0
    #: Since when the host takes no new jobs (Unix seconds, by the broker's clock; 0: it takes them), and who wants so.
    drained_at: float = 0.0
    drained_by: str = ""
    #: Unix seconds of the clock of the host as it reported; and by how many seconds that is ahead of the broker's,
    #: as those see who read the report.
    time: float = 0.0
    ahead: float = 0.0


class LostHost(msgspec.Struct, frozen=True):
    """A host that other hosts have declared dead, since it had shown no sign of life."""

    host: str
    #: Seconds since then.
    age: float
    machine: str = ""
    #: Jobs that were given back since its workers had claimed them.
    jobs: int = 0


#: Encodes a report; its age is that of its entry.
encode_report = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HostReport).decode


def decode_report(packed: bytes) -> HostReport:
    """The report in these bytes.

    Raises:
        SealError: it is none.
    """
    try:
        return _decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(f"This is not the report of a host: {error}.") from error
