"""Arguments and replies of the scripts, encoded from and decoded to values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from ...broker import (
    Delivery,
    Finish,
    JobState,
    Liveness,
    Notice,
    Overflow,
    Push,
    Room,
    Settled,
    Special,
)
from ...job import Meta, Obituary, Status
from ...wire.seal import OVERHEAD
from ..graphs import target_of
from ..lanes import flags_of, is_parked, lane_of, queue_of
from ..letters import pack_facts

__all__ = [
    "LIVENESS",
    "RECORDING",
    "ROW",
    "SETTLED",
    "add_finishes",
    "claimed",
    "decode_meta",
    "deliveries",
    "delivery",
    "encode_meta",
    "encode_obituary",
    "encode_special",
    "facts_of_dead",
    "frame",
    "frames",
    "id_of",
    "mark",
    "milliseconds",
    "name_in",
    "overflow",
    "pack_rows",
    "push_arguments",
    "server_url",
    "text",
    "whole",
]

#: Reply of finish.lua where finished jobs are recorded.
RECORDING = 2
#: What the numbers in replies of scripts mean.
LIVENESS = {1: Liveness.LIVE, RECORDING: Liveness.LIVE, 0: Liveness.DEAD, -1: Liveness.FORGOTTEN}
SETTLED = [Settled.NOT_YOURS, Settled.DONE, Settled.BEFORE]
_FRESH = Meta()
#: Head of a history row: the lengths in bytes of the envelope, the outcome and the meta that follow.
ROW = struct.Struct(">IIH")
#: Bytes of an envelope, and of a batch, above which finish.lua reads the envelopes from the lanes.
_SMALL, _ROWS = 4096, 256 * 1024
#: Notices read from one message: a script publishes a few hundred at most.
_FRAMES = 10_000
#: Kinds of frames beside 0 and 1; a release ignores those that it does not know.
_ITEM, _PROGRESS = 2, 3
#: Attempts and deaths from which on a meta counts as damaged.
_MOST = 2**31
#: What stands in a mark as it is: printable ASCII but the percent sign.
_PRINTABLE = "".join(sorted(set(map(chr, range(0x20, 0x7F))) - {"%"}))
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_encode = msgspec.msgpack.Encoder().encode
_read_head, _read_size = struct.Struct(">BH").unpack_from, struct.Struct(">I").unpack_from


def text(name: bytes) -> str:
    """A name that came from the server; bytes in it that are not UTF-8 are replaced by U+FFFD."""
    return name.decode("utf-8", "replace")


def mark(name: bytes) -> str:
    """A name that came from the server, as text from which ``name_in`` makes the same bytes: names that differ in bytes
    that are not UTF-8 are one for ``text``, and a list that goes on behind such a name would begin there again."""
    return quote_from_bytes(name, safe=_PRINTABLE)


def name_in(mark: str) -> bytes:
    """The name of which ``mark`` has made this text."""
    return unquote_to_bytes(mark)


def whole(number: bytes) -> int:
    """A count that came from the server; 0 where the value is not a number."""
    try:
        return int(number)
    except ValueError:
        return 0


def server_url(url: str) -> str:
    """The URL as redis-py reads it."""
    return url.replace("valkey", "redis", 1) if url.startswith("valkey") else url


def push_arguments(
    client: str,
    sequence: int,
    batch: Sequence[Push],
    room: Room | None = None,
    drop: Sequence[Finish] = (),
    *,
    behind: bool = False,
) -> tuple[str, list[Any]]:
    """The script for a batch, and its ARGV: push.lua's if all jobs are plain and no queue has a limit, else those of
    push_special.lua. Neighbours that have everything but id and envelope in common share a head.

    Args:
        behind: the batch is sent along with the one before it, and accepted only if that one is.
    """
    limited: list[Any] = []
    if room is not None:
        limits = [(queue, room.of(queue)) for queue in {job.queue for job in batch}]
        limited = [part for queue, limit in limits if limit is not None for part in (queue, limit)]
    if not limited and (plain := _plain_arguments(client, sequence, batch, behind)) is not None:
        return "push", plain
    name = "push_special"
    args: list[Any] = [client, sequence, -1 if behind else len(limited) // 2]
    if room is not None and limited:
        args += (*limited, "1" if room.oldest else "", len(drop))
        for item in drop:
            claim = item.delivery
            args += (claim.lane, claim.entry, claim.id, milliseconds(item.result_ttl), item.reply, item.outcome)
    head: tuple[Any, ...] = ()
    count_at = 0
    for job in batch:
        own = (job.queue, job.priority, job.delay, job.eta, job.custom, job.special)
        if own != head:
            head = own
            eta = "" if job.eta is None else job.eta
            args += (target_of(job), job.delay, eta, "1" if job.custom else "")
            args += (b"" if job.special is None else _encode(job.special), 0)
            if job.special is not None and job.special.unique is not None:
                name = "push_unique"
            count_at = len(args) - 1
        args += (job.id, job.sealed)
        args[count_at] += 1
    return name, args


def _plain_arguments(client: str, sequence: int, batch: Sequence[Push], behind: bool) -> list[Any] | None:
    """ARGV of push.lua; None: not all jobs are plain."""
    args: list[Any] = [client, sequence, "1" if behind else ""]
    queue, priority = "", -1
    count_at = 0
    for job in batch:
        if job.special is not None or job.delay or job.eta is not None or job.custom:
            return None
        if job.priority != priority or job.queue != queue:
            queue, priority = job.queue, job.priority
            args += (lane_of(queue, priority), 0)
            count_at = len(args) - 1
        args += (job.id, job.sealed)
        args[count_at] += 1
    return args


def add_finishes(args: list[Any], batch: Sequence[Finish]) -> None:
    """ARGV of finish.lua: neighbours that have everything but entry, id and outcome in common share a head. Each dead
    letter has one of its own, with its facts."""
    lane, status, ttl, reply, dead = "", Status.PENDING, 0.0, "", False
    count_at = 0
    for item in batch:
        claim = item.delivery
        if not (
            claim.lane == lane
            and item.status is status
            and item.result_ttl == ttl
            and item.reply == reply
            and not (dead or item.dead)
        ):
            lane, status, ttl, reply, dead = claim.lane, item.status, item.result_ttl, item.reply, item.dead
            facts = facts_of_dead(item) if dead else b""
            if count_at:
                args[count_at] = (len(args) - 1 - count_at) // 3
            args += (lane, _counter_of(lane, status), milliseconds(ttl), reply, facts, 0)
            count_at = len(args) - 1
        args += (claim.entry, claim.id, item.outcome)
    if count_at:
        args[count_at] = (len(args) - 1 - count_at) // 3


@lru_cache(maxsize=256)
def _counter_of(lane: str, status: Status) -> str:
    """The field of ``counts`` for jobs of a lane that end in a status."""
    return f"{'' if is_parked(lane) else queue_of(lane)}|{status.value}"


def facts_of_dead(item: Finish) -> bytes:
    """The facts of the dead letter that a job becomes."""
    return pack_facts(item.delivery.sealed, item.outcome)


def pack_rows(batch: Sequence[Finish]) -> bytes:
    """The batch as rows of the history; empty: its envelopes are too large to be sent a second time."""
    parts: list[bytes] = []
    size = 0
    for item in batch:
        sealed, meta = item.delivery.sealed, encode_meta(item.delivery.meta)
        size += len(sealed) + len(item.outcome)
        if len(sealed) > _SMALL:
            return b""
        parts += (ROW.pack(len(sealed), len(item.outcome), len(meta)), sealed, item.outcome, meta)
    return b"".join(parts) if size <= _ROWS else b""


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one of a positive time."""
    return 0 if seconds <= 0 else max(1, round(seconds * 1000))


def encode_meta(meta: Meta) -> bytes:
    """Meta as bytes; empty for a fresh job, as most jobs are."""
    if meta == _FRESH:
        return b""
    packed = _encode(meta)
    if meta.trail:
        return packed
    # Without a trail an array of six, and without a checkpoint one of five, as in releases that know neither.
    return b"\x96" + packed[1:-1] if meta.saved else b"\x95" + packed[1:-2]


def encode_special(special: Special | None) -> bytes:
    """What is special about a job, as the scripts read it; empty: nothing."""
    return b"" if special is None else _encode(special)


def encode_obituary(obituary: Obituary | None) -> bytes:
    """An obituary as bytes, as it stands in the last field of a Meta."""
    return _encode(obituary)


def decode_meta(packed: bytes) -> Meta:
    """Meta from bytes; that of a fresh job where they are empty or not readable."""
    if not packed:
        return _FRESH
    try:
        meta = _decode_meta(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _FRESH
    # The seal does not cover the counters, so numbers that no job can have are ignored.
    return meta if 0 < meta.attempt < _MOST and 0 <= meta.deaths < _MOST else _FRESH


#: Offset of the id in an envelope: behind the seal, the head of an array and the version.
_ID = OVERHEAD + 2


def id_of(sealed: bytes) -> str:
    """The id inside an envelope whose seal is not checked; empty: it has none."""
    size = sealed[_ID] - 0xA0 if len(sealed) > _ID else 0
    if 0 <= size < 32:
        return sealed[_ID + 1 : _ID + 1 + size].decode("utf-8", "replace")
    if size == 0xD9 - 0xA0 and len(sealed) > _ID + 1:
        return sealed[_ID + 2 : _ID + 2 + sealed[_ID + 1]].decode("utf-8", "replace")
    return ""


def delivery(lane: str, entry: bytes, sealed: bytes, meta: bytes, suspect: bool, returned: bool) -> Delivery:
    """One delivery from the fields of an entry, and from what ``flags_of`` says of its lane."""
    known = decode_meta(meta) if meta else _FRESH
    return Delivery(lane, entry.decode(), id_of(sealed), sealed, known, suspect, returned)


def claimed(flat: list[Any], start: int) -> list[Delivery]:
    """Deliveries from the reply of claim.lua: per lane its name, a count, then entry, envelope and meta of each."""
    found: list[Delivery] = []
    while start < len(flat):
        lane = text(flat[start])
        suspect, returned = flags_of(lane)
        end = start + 2 + 3 * flat[start + 1]
        found += [
            delivery(lane, flat[n], flat[n + 1], flat[n + 2], suspect, returned) for n in range(start + 2, end, 3)
        ]
        start = end
    return found


def deliveries(flat: list[Any], start: int) -> list[Delivery]:
    """Deliveries from the flat reply of a script: lane, entry, envelope and meta of each."""
    found = []
    for n in range(start, len(flat), 4):
        lane = text(flat[n])
        found.append(delivery(lane, flat[n + 1], flat[n + 2], flat[n + 3], *flags_of(lane)))
    return found


def overflow(reply: Any) -> Overflow | None:
    """The jobs of a batch that had no room, or are others, from the reply of push.lua."""
    if isinstance(reply, int):
        return None
    count = reply[0]
    full = [id.decode() for id in reply[1 : 1 + count]]
    known, refused = dict[str, str](), dict[str, str]()
    end = count + 2 + 2 * reply[count + 1]
    for n in range(count + 2, end, 2):
        id, other = text(reply[n]), text(reply[n + 1])
        if other.startswith("!"):
            refused[id] = other[1:]
        else:
            known[id] = other
    return Overflow(full, deliveries(reply, end), known, refused)


def job_state(status: bytes, extra: bytes) -> JobState:
    """What status.lua says of one job."""
    match status:
        case b"":
            return JobState()
        case b"DONE":
            return JobState(outcome=extra)
        case b"REFUSED":
            return JobState(refused=text(extra))
        case b"SAME":
            return JobState(same=text(extra))
        case b"EXISTS":
            return JobState(exists=text(extra))
        case b"DOUBT":
            return JobState(doubtful=True)
    return JobState(status=Status(status.decode()), need=text(extra))


def frame(notice: Notice) -> bytes:
    """One notice as a message of the results channel."""
    id, outcome = notice.id.encode(), notice.outcome
    return struct.pack(">BH", outcome is None, len(id)) + id + struct.pack(">I", len(outcome or b"")) + (outcome or b"")


def frames(message: bytes) -> list[Notice]:
    """The notices in one message of the results channel, up to the first that does not parse; ``_FRAMES`` at most."""
    notices: list[Notice] = []
    at, end = 0, len(message)
    try:
        while at < end and len(notices) < _FRAMES:
            kind, length = _read_head(message, at)
            body = at + 7 + length
            (size,) = _read_size(message, body - 4)
            at, id = body + size, message[at + 3 : body - 4].decode()
            if kind < _ITEM:
                notices.append(Notice(id, message[body:at] if kind == 0 else None))
            elif kind == _ITEM:
                notices.append(Notice(id, item=message[body:at]))
            elif kind == _PROGRESS:
                notices.append(Notice(id, progress=message[body:at]))
    except (struct.error, UnicodeDecodeError):
        pass
    return notices
