"""Bounds that brokers of every technology keep."""

from __future__ import annotations

__all__ = [
    "ASIDE",
    "AUDIT_LINES",
    "BAD_GRAPH_TTL",
    "CLIENT_TTL",
    "DEAD_LETTERS",
    "DECLARER_TTL",
    "HISTORY_ROWS",
    "KEY_TOLD",
    "LOST_HOSTS",
    "OBEYED_TTL",
    "OUTBOX_CLIENT",
    "OUTBOX_TTL",
    "REFUSALS",
    "REFUSED_TTL",
    "SAMPLED",
    "STATS_AGE",
    "VOLUNTEER_TTL",
]

#: Dead letters that are kept; older ones make room.
DEAD_LETTERS = 10_000
#: Messages that were no jobs and are kept; older ones make room.
ASIDE = 1_000
#: Lines of the audit that are kept; older ones make room.
AUDIT_LINES = 1_000
#: Lines of the audit that say what was refused, and are kept beside the others: no flood of these pushes actions out.
REFUSALS = 250
#: Hosts that were lost and are remembered; older ones make room.
LOST_HOSTS = 100
#: Finished jobs that wait for a recorder; older ones make room.
HISTORY_ROWS = 1_000_000
#: Seconds after its last push for which the sequence of a client is remembered.
CLIENT_TTL = 3600
#: What the clients of batches of an outbox begin with, and seconds for which these are remembered until a second,
#: empty batch: a relay that died before it could delete what it had sent may be away for so long.
OUTBOX_CLIENT, OUTBOX_TTL = "outbox.", 7 * 86_400
#: Seconds for which the reason why a worker set a job aside is remembered.
REFUSED_TTL = 3600
#: Jobs that a sample of a queue looks at.
SAMPLED = 200
#: Seconds for which what was counted for one who looks is kept for the others.
STATS_AGE = 2.0
#: Seconds in which a volunteer for a suspect has to claim it.
VOLUNTEER_TTL = 30
#: Seconds for which a graph is kept at least after a bad end, with the outcomes that a replay needs.
BAD_GRAPH_TTL = 86_400.0
#: Seconds for which the sender of a graph can ask at least which job has its key, also where no outcome is kept.
KEY_TOLD = 60.0
#: Seconds after which code that has declared a schedule, and declares it once a minute, counts as gone.
DECLARER_TTL = 600.0
#: Seconds after the last word of a worker about the pauses that it obeys for which these words are kept.
OBEYED_TTL = 60.0
