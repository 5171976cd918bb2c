"""Unique jobs: the rule of a call, what it makes of the job that has the key, and the ids of such jobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import ConfigError

__all__ = [
    "COMBINED",
    "PREFIX",
    "Rule",
    "check_unique",
    "is_same_key",
    "is_unique",
    "key_hash",
    "rule_of",
    "shown",
    "unique_id",
    "verdict",
    "without_rule",
]

#: Options of tasks and calls that travel as one field of the job.
COMBINED = ("unique", "on_conflict", "max_wait")
#: The id of a unique job begins with this, the hash of task and key, and a dash: the end of the job needs no look-up.
PREFIX = "00u"
_HASH = 24
_HEX = frozenset("0123456789abcdef")
#: Characters of a key that an id does not show, since they need quotes in a shell or an escape in a URL.
_UNSHOWN = re.compile(r"[^A-Za-z0-9._\-]")


class Rule(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """When a job that has the key is the one that a call means, and what happens then."""

    #: ``kept``: while its outcome is kept. ``unfinished``: until it ends. ``pending``: until it starts. ``period``: for
    #: some seconds from its acceptance on.
    policy: str
    #: ``existing``: the call is that job. ``replace``: it takes the place of that job, if it waits. ``error``.
    on_conflict: str = "existing"
    seconds: float = 0.0
    #: Seconds from the first of the calls that replaced each other, after which the job is due; 0: no limit.
    max_wait: float = 0.0
    #: Seconds for which the outcome is kept, and what the broker knows of calls that are another job.
    ttl: float = 0.0

    def __str__(self) -> str:
        """The rule as ``job.More.unique`` has it, without the TTL of the job."""
        return f"{self.policy} {self.on_conflict} {self.seconds!r} {self.max_wait!r}"

    @classmethod
    def of(cls, text: str, ttl: float) -> Rule:
        """The rule in ``job.More.unique``."""
        policy, on_conflict, seconds, max_wait = text.split(" ")
        return cls(policy, on_conflict, float(seconds), float(max_wait), ttl)


def rule_of(options: Mapping[str, Any]) -> Rule | None:
    """The rule of these checked options that travel; None: a call with a key is the job that the key has as its id."""
    unique, on_conflict = options.get("unique") or "kept", options.get("on_conflict", "existing")
    if unique == "kept" and on_conflict == "existing":
        return None
    policy, period = (unique, 0.0) if isinstance(unique, str) else ("period", unique)
    return Rule(policy, on_conflict, period, options.get("max_wait") or 0.0)


def without_rule(options: Mapping[str, Any]) -> dict[str, Any]:
    """These options that travel, without those of unique jobs."""
    return {name: value for name, value in options.items() if name not in COMBINED}


def check_unique(name: str, options: Mapping[str, Any], is_keyed: bool, has_id: bool, delay: float) -> None:
    """Refuse options of unique jobs that exclude each other, or lack one.

    Args:
        options: those that travel.
        is_keyed: the task has a key, or the call says that it has none.

    Raises:
        ConfigError: see above.
    """
    given = [each for each in COMBINED if options.get(each) is not None]
    if not given:
        return
    rule, what = rule_of(options), f'Task "{name}": {given[0]}={options[given[0]]!r}'
    if has_id:
        raise ConfigError(f"{what} and id= exclude each other: a job with a key gets an id of its own. Leave out id=.")
    if not is_keyed:
        raise ConfigError(f'{what} needs a key, as in key="user-{{user_id}}": it says which calls are the same.')
    max_wait = options.get("max_wait")
    if max_wait is None:
        return
    if rule is None or rule.on_conflict != "replace" or rule.policy == "kept":
        raise ConfigError(
            f'Task "{name}": max_wait={max_wait:g} needs calls that replace each other: on_conflict="replace", with '
            'unique="pending", "unfinished" or a time.'
        )
    if max_wait < delay:
        raise ConfigError(
            f'Task "{name}": max_wait={max_wait:g} and delay={delay:g}: a job would be due before its delay is over.'
        )


def verdict(policy: str, on_conflict: str, place: str) -> str:
    """What becomes of a call: ``new``, ``existing``, ``replace`` or ``refused``; ``lib/unique.lua`` has the same.

    Args:
        place: of the job that has the key. ``none``: no job has it; ``gone``: the broker knows neither the job nor an
            outcome; ``ended``: an outcome is kept; ``pending``: it waits (for a worker, its time, or a retry);
            ``running``; ``node``: it waits, and is in a graph.
    """
    if policy == "pending":
        is_known = place in ("pending", "node")
    elif policy == "unfinished":
        is_known = place not in ("none", "gone", "ended")
    elif policy == "kept":
        is_known = place not in ("none", "gone")
    else:
        is_known = place != "none"
    if not is_known:
        return "new"
    if on_conflict == "error":
        return "refused"
    return "replace" if on_conflict == "replace" and place == "pending" else "existing"


def unique_id(task: str, key: str, tail: str) -> str:
    """The id of one job of a task under a key. ``tail`` tells it from the others; the end shows the key to people."""
    digest = hashlib.blake2s(f"{task}\0{key}".encode(), digest_size=_HASH // 2).hexdigest()
    return f"{PREFIX}{digest}-{tail}-{shown(key)}"


def shown(key: str) -> str:
    """As much of a key as an id shows."""
    text = _UNSHOWN.sub("_", key)
    return text if len(text) <= 60 else f"..{text[-58:]}"


def key_hash(id: str) -> str:
    """The hash of task and key in an id; empty: it is none of a unique job."""
    start, end = len(PREFIX), len(PREFIX) + _HASH
    hash = id[start:end]
    return hash if id.startswith(PREFIX) and id[end : end + 1] == "-" and _HEX.issuperset(hash) else ""


def is_unique(id: str) -> bool:
    """Whether this is the id of a unique job."""
    return bool(key_hash(id))


def is_same_key(id: str, other: str) -> bool:
    """Whether two ids are of jobs of one task under one key. A caller follows the broker to no other job."""
    return bool(key_hash(id)) and key_hash(id) == key_hash(other)
