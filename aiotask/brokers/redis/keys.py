"""Every key that aiotask has on the server. Private to this folder.

All keys of an app share the prefix ``aiotask1:{APP}:`` (1 is the version of the layout, the braces
are a cluster hash tag: every script stays in one slot).

==================  ======  ==========================================================  ====================
key                 type    meaning                                                     lives until
==================  ======  ==========================================================  ====================
q:QUEUE:0 … 9       stream  the tasks channel, a lane per priority; entry = j (sealed   a job is finished;
                            envelope), m (msgpack of Meta, left out at first)           the empty lane stays
q:QUEUE:r           stream  returned: recovered, released, retried; claimed first       as above
q:QUEUE:s           stream  suspects: a process died with them; run alone               as above
parked:NEED         stream  jobs that need a task, Python or release no worker had,     as above
                            or whose task is paused; a limited one has its place in
                            its line (l), and behind the need of its pause is ``:l``
queues              set     names of the queues                                         the app
parked              set     the needs that have a lane                                  the app
index               set     the buckets of the index: all of a job id but its last      its jobs are
                            character, if aiotask made the id; "" for all others;       finished; the
                            and ".": a set without it was deleted by hand               "." stays
index:BUCKET        hash    the rest of the job id -> ``LANE|ENTRY``, ``due|S``,        the job is finished
                            ``due|E`` (an eta) or ``due|R``; exactly the unfinished jobs
due                 zset    job id by due time (Unix seconds, server clock)             it is due
clock               string  the latest time that the server's clock has shown while    ``due`` and ``wake``
                            something is in ``due`` or ``wake``: tells whether the      are empty
                            clock was set back
held                hash    job id -> lane, meta and envelope of the jobs in ``due``    it is due
r:ID                string  the sealed outcome                                          its result TTL
refused:ID          string  why a worker set this job aside                             1 h
watch               hash    job id -> addresses to notify, comma separated              the job is finished
marks               hash    job id -> sealed CANCELLED outcome: a cancel its owner,     the job is finished
                            recover and retry honour
begun               hash    job id -> sealed FAILED outcome: it runs at most once and   the job is finished
                            has begun, so recover ends it with this outcome             or requeued
client:ID           string  last sequence that this client pushed, and ids that had     1 h after the last, of
                            no room in it                                               an outbox 7 days
live                hash    incarnation -> host and facts; field "" is the epoch        it is declared dead
leases              hash    host -> counter that its keeper raises                      it is declared dead
dead, dead:jobs     zset,   dead letters by time, and their envelope and outcome        10,000 newer ones
                    hash
dead:facts          hash    job id -> task, queue, first line of the error, and graph   as its dead letter
                            of a dead letter (msgpack)
aside               stream  entries that were no job of this app, and why               1,000 newer ones
counts              hash    ``QUEUE|STATUS``: how many jobs of the queue ended in it    the app
                            (empty QUEUE: jobs that were parked; ``STATUS`` alone:
                            those that an older release ended); ``WAITING``: jobs
                            that wait for others; ``retried``, ``returned``, ``died``:
                            runs before the last one; ``rejected``; ``lost``: hosts; ``unrecorded``: rows
                            in the history; ``owed``: items of the agenda;
                            ``pauses``: how often pauses have changed
history             stream  finished jobs for the recorder (exists while one is         recorded, or
                            registered), many in an entry: how many, and per row        1,000,000 newer ones
                            envelope, sealed outcome, m
g:GRAPH             hash    one graph, and every node of it by number (the fields are   it is dropped; a day
                            those of ``graphs.Part``, state, total, left, ttl, blank)   later in any case
nodes               hash    job id -> number and graph: the nodes that have not ended   the node has ended
agenda              list    work on graphs that is promised and not done yet            it is done
graphs              zset    each graph by when the keeper is to look at it (Unix        the graph is dropped
                            seconds; +inf: while it runs)
kids:ID             list    ids of the jobs that this job has sent, the newest 1,000    the result TTL of the
                                                                                        job
expiring            zset    job id by the time after which no run of it starts (Unix    the job is finished
                            seconds, server clock)
unique              hash    hash of task and key -> id of the unique job that has the   that job is finished
                            key, of the first job in the row of those that it replaced,
                            and when that was accepted (Unix seconds)
once:HASH           string  the same of a job that is unique for some seconds           these are over
same:ID             string  id of the job that this unique job is, or behind a ``!``    the result TTL, of one
                            that because of which it was refused                        that is not due yet
                                                                                        from then on
audit               stream  what people have done through tools: a (sealed line)        1,000 newer ones
refusals            stream  what they were refused: a (sealed line)                     250 newer ones
hides               hash    name of code -> the arguments that it hides from people     it hides none
                            (msgpack of ``Hidden``)
stats               string  the counts that pollers share (msgpack)                     2 s
m:MINUTE            hash    what was counted in a minute (Unix seconds / 60): ``t:TASK``  8 h
                            and ``q:QUEUE`` -> numbers by slot, ``e`` -> the errors,
                            ``r`` -> reports by release, ``*`` -> the state of the
                            queues (each msgpack)
m10:TEN             hash    the same of ten minutes                                     72 h
reports             hash    host -> number and time (ms) of its last report, and this   it is declared dead
lost                hash    host that others have declared dead -> when (ms), how many  100 newer ones
                            of its jobs were given back, and its last report
paused              hash    id of a pause -> what, who, why, when                        it is resumed
obeyed              hash    incarnation -> how often pauses had changed when it was     60 s
                            told of those that it obeys
resuming            hash    ``ID@QUEUE`` of a pause that ends -> since when (Unix        all are there
                            seconds) its limited jobs go back into their lines
schedules           hash    name -> when and by whom it was declared, its next and      it is removed
                            last run (``scripts/lib/schedules.lua``), and the
                            sealed schedule
paused:schedules    hash    name of a paused schedule -> when, who, why                 it is resumed
fires               zset    name of a schedule by when its next run is due (Unix        it is removed
                            seconds, server clock; +inf: it is paused)
declared:DECLARER   hash    name -> moments of a schedule that the code of this name    it declares none
                            declares, and when it said so last; "": its generation
declarers           set     the names of such code                                      the app
s:ID                stream  items of a generator task: entry ``N-0`` has number N, so   the result TTL after
                            that the server refuses one that it has; d (sealed)         the last call
reader:ID           hash    how far it was read (at), address of the reader (to), the   as s:ID; 60 s before
                            incarnation that waits for the reader (waits)               that exists
progress            hash    job id -> sealed progress                                   the job is finished
checkpoints         hash    job id -> sealed state of a long job                        the job is finished
follow              hash    job id -> addresses to tell of it, comma separated          the job is finished
l:PLACE:LIMIT:KEY   zset    a line: job ids by number; PLACE is QUEUE:PRIORITY          it is empty
lined               hash    job id -> meta and envelope of the jobs in lines            it is admitted
lined:QUEUE         string  how many jobs of a queue are in lines                       it is 0
ring:PLACE:LIMIT    zset    keys of a limit whose turn may come there, by turn          it is empty
open                set     places where a limit may admit something                    it is empty
open:PLACE          zset    the limits that may, by turn                                it is empty
limits              set     names of the limits                                         the app
places:LIMIT        set     places where it has had lines                               the app
limit:LIMIT         hash    its numbers, as declared and as set, by whom; ``seq``:      the app
                            the last number and turn that it gave, counted from the
                            time in microseconds at which the hash was made
admitted            hash    job id -> ``LINE|NUMBER``: exactly the admitted jobs        it ends, or waits again
slots:LIMIT[:KEY]   set     ids of those, where their number is limited, in all or by   it is empty
                            key
tat:LIMIT[:KEY]     string  when the next start would come evenly (microseconds,        that time
                            server clock); until when none comes at all, and since
wake                zset    lines that a rate holds, by when it may admit the next      that time
                            job (Unix seconds, server clock)
q:QUEUE:g           stream  admitted jobs; read as they come, so each is claimed        as the other lanes
q:QUEUE:b           stream  the bell: at most one entry, which wakes a worker that      as the other lanes
                            blocks when a limit may admit something
volunteer           string  the incarnation that makes itself idle for a suspect        30 s
==================  ======  ==========================================================  ====================

One key has no app in its name: ``aiotask1:apps``, the set of the names of all apps on the server, and ``.`` once it is
complete. Nothing removes a name from it. On a cluster, commands scan.

Channels: ``aiotask1:{APP}:to:ADDRESS``, one per client session, and for cancels one per incarnation and host.
A message is a row of frames:
1 byte kind (0 outcome, 1 none: ask for the status, 2 item, 3 progress), 2 bytes length of the id, the id, 4 bytes
length, the rest.
"""

from __future__ import annotations

from ...broker import BATCH_BYTES
from ...job import LOSS, TRAIL, TRAIL_BYTES, TRAIL_ERROR, TRAIL_WORKER
from ...wire.seal import OVERHEAD
from ..bounds import (
    ASIDE,
    BAD_GRAPH_TTL,
    CLIENT_TTL,
    DEAD_LETTERS,
    DECLARER_TTL,
    HISTORY_ROWS,
    LOST_HOSTS,
    OUTBOX_CLIENT,
    OUTBOX_TTL,
    REFUSED_TTL,
    STATS_AGE,
    VOLUNTEER_TTL,
)
from ..expiry import BATCH_EXPIRED
from ..graphs import CHILDREN, CHUNK, STAGE_TIMEOUT
from ..lanes import ADMITTED, KINDS, LINED, SUSPECT
from ..streams import KEPT_ITEMS, READER_TTL

__all__ = ["APPS", "CONSTANTS", "GROUP", "RECORDERS", "TYPES", "in_index", "prefix"]

#: The set of the names of all apps on the server.
APPS = "aiotask1:apps"
#: Consumer group of every lane.
GROUP = "w"
#: Consumer group of the history stream.
RECORDERS = "recorders"

#: Types of the keys that have neither an id nor a queue in their name, as in the table above; without ``clock``, since
#: the scripts replace it whatever it holds.
TYPES = {
    **dict.fromkeys(("queues", "parked", "index", "limits", "open", "declarers"), "set"),
    **dict.fromkeys(
        (
            "held",
            "watch",
            "marks",
            "begun",
            "live",
            "leases",
            "dead:jobs",
            "dead:facts",
            "counts",
            "nodes",
            "paused",
            "paused:schedules",
            "resuming",
            "obeyed",
            "schedules",
        ),
        "hash",
    ),
    **dict.fromkeys(
        ("reports", "lost", "hides", "progress", "follow", "checkpoints", "lined", "admitted", "unique"), "hash"
    ),
    **dict.fromkeys(("due", "dead", "graphs", "expiring", "fires", "wake"), "zset"),
    **dict.fromkeys(("aside", "history", "audit", "refusals"), "stream"),
    "agenda": "list",
    "volunteer": "string",
    "stats": "string",
}
#: Seconds after which the server drops a graph by itself, beyond its time.
GRAPH_NET = 86_400

#: First words of the keys of this release, a line for each subject.
_WORDS = [
    "q parked queues index due clock held r refused watch marks begun client live leases dead aside counts history to",
    "volunteer",
    "g nodes agenda graphs kids",
    "expiring",
    "unique once same",
    "paused resuming obeyed stats m m10 reports lost",
    "audit refusals hides",
    "schedules fires declared declarers",
    "s reader progress follow checkpoints",
    "l lined ring open limits places limit admitted slots tat wake",
]

#: Constants of the scripts: each script begins with those that it uses, as local variables.
CONSTANTS: dict[str, str | int] = {
    "GROUP": GROUP,
    # The last characters of all lanes of a queue.
    "LANE_KINDS": "".join(KINDS) + SUSPECT + ADMITTED,
    # What the need of limited jobs of a paused task ends with.
    "LINED": LINED,
    # A place that begins with another word is one of a later release.
    "KEY_WORDS": f" {' '.join(_WORDS)} ",
    # Bytes of seal in front of an envelope.
    "SEAL_BYTES": OVERHEAD,
    "BATCH_BYTES": BATCH_BYTES,
    "DEAD_LETTERS": DEAD_LETTERS,
    "HISTORY_ROWS": HISTORY_ROWS,
    # Bytes of an entry of the history from which on a new entry is begun.
    "HISTORY_BYTES": 64 * 1024,
    "ASIDE": ASIDE,
    "KIDS": CHILDREN,
    "LOST_HOSTS": LOST_HOSTS,
    # What the trail of a job says of a run on a host that was lost.
    "LOSS": LOSS,
    "TRAIL": TRAIL,
    "TRAIL_BYTES": TRAIL_BYTES,
    "TRAIL_WORKER": TRAIL_WORKER,
    "TRAIL_ERROR": TRAIL_ERROR,
    "BATCH_EXPIRED": BATCH_EXPIRED,
    "KEPT_ITEMS": KEPT_ITEMS,
    # Milliseconds.
    "READER_TTL": round(READER_TTL * 1000),
    # Bytes that are kept of an entry that was no job.
    "ASIDE_BYTES": 64 * 1024,
    # Bytes of a stored outcome up to which it also travels on the results channel.
    "INLINE_BYTES": 16 * 1024,
    "STATS_AGE": round(STATS_AGE * 1000),
    # Seconds, as text, since the server would take longer to convert a number.
    "CLIENT_TTL": str(CLIENT_TTL),
    "OUTBOX_CLIENT": OUTBOX_CLIENT,
    "OUTBOX_TTL": str(OUTBOX_TTL),
    "REFUSED_TTL": str(REFUSED_TTL),
    "VOLUNTEER_TTL": str(VOLUNTEER_TTL),
    # Edges and nodes of graphs that one call goes through.
    "GRAPH_STEPS": 500,
    "CHUNK": CHUNK,
    # Seconds for which a graph is kept that is not accepted, and one that ended badly, and beyond that at most.
    "STAGE_TIMEOUT": round(STAGE_TIMEOUT),
    "BAD_GRAPH_TTL": round(BAD_GRAPH_TTL),
    "GRAPH_NET": GRAPH_NET,
    "DECLARER_TTL": round(DECLARER_TTL),
}


def prefix(app: str) -> str:
    """What every key of the app begins with."""
    return f"aiotask1:{{{app}}}:"


def in_index(id: bytes) -> tuple[bytes, bytes]:
    """Bucket and field of a job id in the index; ``scripts/lib/index.lua`` has the same. An entry of a small hash takes
    a third of the memory that one of a large hash takes."""
    return (id[:-1], id[-1:]) if id[17:18] == b"-" else (b"", id)
