"""Dead letters on Redis: pages of their facts, and single letters."""

from __future__ import annotations

from typing import Any

from ...inspector import DeadLetter, LetterFacts, LetterPlace
from ..letters import facts_in, facts_of, pack_facts
from .codec import text
from .connection import Wire
from .kept import letter_of
from .script import script

__all__ = ["LetterPages", "mend_facts"]

#: Letters that one command reads whole, and facts.
_WHOLE, _FACTS = 50, 500


class LetterPages:
    """The verbs of ``RedisInspector`` that read dead letters."""

    _wire: Wire
    _prefix: str

    async def dead(self, *, limit: int = 50) -> list[DeadLetter]:
        flat = await self._wire.call("ZREVRANGE", f"{self._prefix}dead", 0, limit - 1, "WITHSCORES")
        scores = dict(zip(flat[::2], flat[1::2], strict=True))
        return await _read(self._wire, self._prefix, scores)

    async def letters(self, after: LetterPlace | None = None, limit: int = _FACTS) -> list[LetterFacts]:
        found: list[LetterFacts] = []
        score, id = ("", b"") if after is None else (repr(after[0]), after[1].encode())
        while len(found) < limit:
            some = min(_FACTS, limit - len(found))
            reply = await self._wire.run(script("page_facts"), self._prefix, score, id, some)
            known = {text(id): facts_in(text(id), float(at), packed) for id, at, packed in reply}
            # Older releases have written letters without facts.
            bare = {id: at for id, at, _ in reply if known[text(id)] is None}
            known |= {letter.id: facts_of(letter) for letter in await _read(self._wire, self._prefix, bare)}
            found += [facts for facts in known.values() if facts is not None]
            if len(reply) < some:
                break
            id, score = reply[-1][0], text(reply[-1][1])
        return found

    async def dead_letter(self, id: str) -> DeadLetter | None:
        packed = await self._wire.call("HGET", f"{self._prefix}dead:jobs", id)
        score = await self._wire.call("ZSCORE", f"{self._prefix}dead", id)
        return letter_of(id, score or b"0", packed) if packed is not None else None


async def _read(wire: Wire, prefix: str, scores: dict[bytes, bytes]) -> list[DeadLetter]:
    """The letters of these ids with their times, in this order; some may be gone."""
    letters: list[DeadLetter] = []
    ids = list(scores)
    for start in range(0, len(ids), _WHOLE):
        some = ids[start : start + _WHOLE]
        kept = await wire.call("HMGET", f"{prefix}dead:jobs", *some)
        letters += [
            letter_of(text(id), scores[id], packed) for id, packed in zip(some, kept, strict=True) if packed is not None
        ]
    return letters


async def mend_facts(wire: Wire, prefix: str) -> None:
    """Write the facts of letters that have none, and remove those of letters that are gone: a release that knows no
    facts has written or removed the letters. At most 50 letters a call."""
    cursor = b"0"
    letters: list[bytes] = await wire.call("ZRANGE", f"{prefix}dead", 0, -1)
    known: set[bytes] = set()
    while True:
        cursor, flat = await wire.call("HSCAN", f"{prefix}dead:facts", cursor, "COUNT", _FACTS)
        known.update(flat[::2])
        if cursor == b"0":
            break
    bare = [id for id in letters if id not in known][:_WHOLE]
    arguments: list[Any] = []
    for letter in await _read(wire, prefix, dict.fromkeys(bare, b"0")):
        arguments += (letter.id, pack_facts(letter.job, letter.outcome))
    for id in known.difference(letters):
        arguments += (id, b"")
    for start in range(0, len(arguments), 2 * _FACTS):
        await wire.run(script("mend_facts"), prefix, *arguments[start : start + 2 * _FACTS])
