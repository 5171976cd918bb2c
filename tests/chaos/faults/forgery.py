"""Messages that nobody has sent: forged, damaged, foreign and oversized, for every place where one can be put."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from aiotask.job import WIRE_VERSION, Job, Status, encode_job
from aiotask.outcome import ErrorInfo, Outcome, encode_outcome
from aiotask.wire.control import Control
from aiotask.wire.seal import OVERHEAD, Sealer

__all__ = ["Forger"]

Fields = dict[bytes, bytes]


class _Bomb:
    """Whoever unpickles it writes a file."""

    def __init__(self, canary: str) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._canary, "w")


class Forger:
    """Makes them; ``secret`` is the true one, for genuine messages that are then damaged or moved.

    Args:
        seed: decides, together with what ``begin`` is given, what each of them is.
        canary: a file that is there once anything of this was loaded or run.
        task: the name of a task that the workers know.
    """

    def __init__(self, seed: int, secret: str, app: str, task: str, canary: Path) -> None:
        self._seed = seed
        #: What is drawn for the message that was begun last.
        self.rng = self._rng = rng = Random(seed)
        self._task = task
        self._app = app
        self._jobs, self._outcomes = Sealer([secret], "job"), Sealer([secret], "outcome")
        self._asks = Control([secret], app)
        self._other_jobs, self._other_outcomes = Sealer(["another"], "job"), Sealer(["another"], "outcome")
        self._other_asks, self._other_app = Control(["another"], app), Control([secret], f"{app}-other")
        self.bomb = b"P" + pickle.dumps(_Bomb(str(canary)), 5)
        self._call = b"P" + pickle.dumps(((_Bomb(str(canary)),), {}), 5)
        self._made = 0
        self._number = ""
        self._ways: list[Callable[[str], bytes]] = [
            self._truncated,
            self._flipped,
            self._of_another_key,
            self._renamed,
            self._moved,
            self._of_another_kind,
            self._of_another_version,
            self._raw,
            self._deep,
            self._long,
            lambda id: b"",
            lambda id: rng.randbytes(rng.randrange(1, 400)),
        ]

    def begin(self, number: str) -> None:
        """Begin the message of this number: what it is does not depend on what was made before, nor on what the server
        and its clients have done meanwhile, which no seed repeats."""
        self.rng.seed(f"{self._seed} {number}")
        self._number, self._made = number, 0

    def id(self) -> str:
        """One that no job has."""
        self._made += 1
        return f"00feedfacecafe-{self._number}-{self._made:x}"

    def one_of(self, ids: list[str]) -> str:
        """One of these ids. What is drawn next does not depend on how many there are."""
        return ids[int(self.rng.random() * len(ids))]

    # ---- jobs

    def _job(self, id: str, **fields: Any) -> Job:
        job = Job(WIRE_VERSION, id, self._task, "default", self._call)
        return msgspec.structs.replace(job, **fields) if fields else job

    def _genuine(self, id: str, **fields: Any) -> bytes:
        """As if it had been sent; it must not go anywhere as it is."""
        return self._jobs.seal(encode_job(self._job(id, **fields)))

    def _truncated(self, id: str) -> bytes:
        whole = self._genuine(id)
        return whole[: self._rng.randrange(len(whole))]

    def _flipped(self, id: str) -> bytes:
        return self._flip(self._genuine(id))

    def _flip(self, sealed: bytes) -> bytes:
        damaged = bytearray(sealed)
        damaged[self._rng.randrange(len(damaged))] ^= 1 << self._rng.randrange(8)
        return bytes(damaged)

    def _of_another_key(self, id: str) -> bytes:
        return self._other_jobs.seal(encode_job(self._job(id)))

    def _renamed(self, id: str) -> bytes:
        """The true seal of a call, in front of the same call of another task."""
        seal = self._genuine(id)[:OVERHEAD]
        return seal + encode_job(self._job(id, task="posix:system"))

    def _moved(self, id: str) -> bytes:
        """The true seal of a call, in front of the same call under another id."""
        return self._genuine(self.id())[:OVERHEAD] + encode_job(self._job(id))

    def _of_another_kind(self, id: str) -> bytes:
        return self._outcomes.seal(encode_job(self._job(id)))

    def _of_another_version(self, id: str) -> bytes:
        if self._rng.random() < 0.5:
            return b"\x07" + self._genuine(id)[1:]
        return self._genuine(id, version=WIRE_VERSION - self._rng.randrange(1, 200))

    def _raw(self, id: str) -> bytes:
        return self._rng.choice([self.bomb, self._call, encode_job(self._job(id)), b"J[[],{}]"])

    def _deep(self, id: str) -> bytes:
        """Nested so deeply that a careless reader runs out of stack; sealed by another or not at all."""
        return self._wrapped(self._rng.choice([b"\x91", b"\x81\xa1a"]) * self._rng.randrange(1_000, 30_000))

    def _long(self, id: str) -> bytes:
        """Says that four billion elements follow."""
        kind = self._rng.choice([b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
        return self._wrapped(b"\x95\x01\xa1a" + kind + b"\xff\xff\xff\xff")

    def _wrapped(self, payload: bytes) -> bytes:
        return self._rng.choice([payload, self._other_jobs.seal(payload), self._genuine("x")[:OVERHEAD] + payload])

    def envelope(self, id: str) -> bytes:
        """An envelope that no worker may take for the job of this id."""
        return self._rng.choice(self._ways)(id)

    def entry(self, borrowed: str = "") -> Fields:
        """The fields of an entry of a lane. ``borrowed``: the id of a job that exists."""
        id = borrowed if borrowed and self._rng.random() < 0.1 else self.id()
        fields = {b"j": self.envelope(id)}
        how = self._rng.random()
        if how < 0.04:
            fields[b"j"] = bytes(OVERHEAD) + b"\x9c\x01\xac\xff\xfe" + self._rng.randbytes(8) + b"\xc3\x28"
        elif how < 0.06:
            fields[b"i"] = self._rng.randbytes(8)
        elif how < 0.08:
            fields = {b"i": id.encode()}
        elif how < 0.10:
            fields = {b"what": b"is", b"this": b"?"}
        elif how < 0.11:
            fields[b"j"] = self.envelope(id * 5_000)
        elif how < 0.2:
            fields[b"m"] = self.meta()
        return fields

    def meta(self) -> bytes:
        """Counters beside the seal, which is why nothing in them may be trusted."""
        return self._rng.choice(
            [
                b"\x95\x01\x00\xa0\xc0" + b"\x91" * 20_000,
                b"\x93\x01\x00\xa2\xff\xfe",
                b"\x92\xcf" + b"\xff" * 8 + b"\x00",
                b"\x92\xd3\x80" + b"\0" * 7 + b"\x03",
                b"\xdd\xff\xff\xff\xff",
                self._rng.randbytes(20),
            ]
        )

    def large(self, size: int) -> Fields:
        """A job of so many bytes."""
        return {b"j": self._of_another_key("x") + bytes(size)}

    def held(self) -> tuple[str, bytes]:
        """An id, and what stands in ``held`` for it; it is no job whatever becomes of it."""
        id = self.id()
        lane = self._rng.choice([b"q:default:5", b"q:default:r", b"index", b"", b"q:\xff:5x", b"parked:x"])
        sealed, meta = self.envelope(id), self.meta()
        whole = struct.pack(">H", len(lane)) + lane + struct.pack(">H", len(meta)) + meta + sealed
        return id, self._rng.choice([whole, whole, b"", b"\xff", b"\xff\xff\xff", self._rng.randbytes(9)])

    # ---- outcomes

    def outcome(self, id: str, status: Status = Status.SUCCESS) -> bytes:
        """An outcome that nobody may take for that of this job."""
        error = ErrorInfo("builtins.ValueError", "forged", body=self.bomb) if self._rng.random() < 0.3 else None
        outcome = Outcome(WIRE_VERSION, id, self._task, status, value=self.bomb, error=error)
        genuine = self._outcomes.seal(encode_outcome(msgspec.structs.replace(outcome, id=self.id())))
        forged = self._other_outcomes.seal(encode_outcome(outcome))
        true = self._outcomes.seal(encode_outcome(outcome))
        ways = [genuine, forged, self._flip(true), true[: self._rng.randrange(len(true))], self.bomb, b""]
        return self._rng.choice([*ways, self._jobs.seal(encode_outcome(outcome)), true[:OVERHEAD] + b"\x91" * 5_000])

    def mark(self, id: str) -> bytes:
        """A cancel that nobody has asked for."""
        sealed = self.outcome(id, Status.CANCELLED)
        return self._rng.choice([struct.pack(">Q", 60_000) + sealed, sealed, b"", b"yes"])

    # ---- messages

    def message(self, ids: list[str]) -> bytes:
        """On the channel of a client that waits for these jobs."""
        parts = [_frame(id.encode(), self.outcome(id)) for id in (self.one_of(ids) for _ in range(3))]
        parts += [_frame(b"\xff\xfe", b""), _frame(self.id().encode(), None), self._rng.randbytes(12)]
        self._rng.shuffle(parts)
        return b"".join(parts[: self._rng.randrange(1, len(parts) + 1)])

    def ask(self) -> bytes:
        """A question to a host that no operator has asked: one well-formed message."""
        id = self.id()
        true = self._asks.ask(id, "elsewhere")
        ways = [self._other_asks.ask(id, "x"), self._other_app.ask(id, "x"), self._flip(true), true[:-1], self.bomb]
        return _frame(b"ask", self._rng.choice([*ways, b"", true[:OVERHEAD] + b"\x91" * 5_000]))

    def cancel(self, ids: list[str]) -> bytes:
        """The word to a worker or a host that somebody has cancelled one of these."""
        return _frame((self.id() if self._rng.random() < 0.15 else self.one_of(ids)).encode(), None)


def _frame(id: bytes, outcome: bytes | None) -> bytes:
    return struct.pack(">BH", outcome is None, len(id)) + id + struct.pack(">I", len(outcome or b"")) + (outcome or b"")
