"""The HMAC on messages, which is checked before a message is decoded."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from hmac import compare_digest

from ..errors import ConfigError, SealError

__all__ = ["OVERHEAD", "Sealer"]

_VERSION = b"\x01"
_KEY_ID = 4
#: Half of a SHA-256, the least that RFC 2104 asks of a truncated one: 128 bits.
_MAC = 16
_MAC_AT = len(_VERSION) + _KEY_ID
_HEAD = _MAC_AT + _MAC
#: Bytes that a seal adds to a message.
OVERHEAD = _HEAD


class _Mac:
    """HMAC-SHA256 with one key. Both of its hashes begin with a block that depends on the key alone, so their states
    after it are kept: OpenSSL 3 takes three times as long to set them up for every message."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, payload: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(payload)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_MAC]


class Sealer:
    """Seals messages of one kind ("job", "outcome", "control") with the first of several secrets.

    A sealed message is a version byte, four bytes that name the key, the first 16 bytes of the
    HMAC-SHA256 and the payload. Every kind has its own key, derived from the secret, so that a job
    can never pass for an outcome. The further secrets are only accepted, which is how a secret is
    rotated.

    Args:
        secrets: one or more secrets, the one to seal with first; an empty one guards against
            damage only, and is allowed for loopback addresses alone.
        kind: what is sealed.
    """

    def __init__(self, secrets: Sequence[str], kind: str) -> None:
        if not secrets:
            raise ConfigError("A Sealer needs at least one secret.")
        keys = [hmac.digest(secret.encode(), b"aiotask/1/" + kind.encode(), "sha256") for secret in secrets]
        heads = [_VERSION + hashlib.sha256(key).digest()[:_KEY_ID] for key in keys]
        self._digests = {head: _Mac(key).digest for head, key in zip(heads, keys, strict=True)}
        self._head, self._digest = heads[0], self._digests[heads[0]]
        self._kind = kind

    def seal(self, payload: bytes) -> bytes:
        """The payload with a seal in front of it."""
        return self._head + self._digest(payload) + payload

    def open(self, sealed: bytes) -> bytes:
        """The payload of a message whose seal is valid.

        Raises:
            SealError: the message is too short, names a secret that is not known here, or has a wrong HMAC.
        """
        digest = self._digests.get(sealed[:_MAC_AT])
        payload = sealed[_HEAD:]
        if digest is None or not compare_digest(sealed[_MAC_AT:_HEAD], digest(payload)):
            raise SealError(self._fault(sealed))
        return payload

    def _fault(self, sealed: bytes) -> str:
        """What is wrong with a message that cannot be opened."""
        if len(sealed) < _HEAD or sealed[:1] != _VERSION:
            return f"This {self._kind} carries no seal of aiotask."
        if sealed[:_MAC_AT] not in self._digests:
            return (
                f"This {self._kind} was sealed with another secret. "
                "Give both sides the same AIOTASK_SECRET (to rotate it: old,new everywhere, then new,old, then new)."
            )
        return f"The seal of this {self._kind} does not match its content: it was damaged or forged."
