"""The seal: what is sealed opens, what was touched does not, and the HMAC is that of RFC 2104."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from aiotask.errors import ConfigError, SealError
from aiotask.wire.seal import OVERHEAD, Sealer


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 119, 200, 100_000])
@pytest.mark.parametrize("secret", ["", "short", "long" * 100])
def test_a_seal_is_the_hmac_of_the_payload_under_a_key_derived_from_the_secret(secret: str, length: int) -> None:
    payload = bytes(n % 251 for n in range(length))
    key = hmac.digest(secret.encode(), b"aiotask/1/job", "sha256")

    sealed = Sealer([secret], "job").seal(payload)

    assert sealed == b"\x01" + hashlib.sha256(key).digest()[:4] + hmac.digest(key, payload, "sha256")[:16] + payload
    assert len(sealed) == OVERHEAD + length


def test_what_was_sealed_opens_again_and_again() -> None:
    sealer = Sealer(["secret"], "job")

    for payload in (b"", b"one", b"two" * 1000):
        sealed = sealer.seal(payload)
        assert [sealer.open(sealed), sealer.open(sealed)] == [payload, payload]


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    sealer = Sealer(["secret"], "job")
    sealed = sealer.seal(b"payload")

    for at in range(len(sealed)):
        touched = bytearray(sealed)
        touched[at] ^= 1
        with pytest.raises(SealError):
            sealer.open(bytes(touched))
    with pytest.raises(SealError):
        sealer.open(sealed[:-1])


def test_a_rotated_secret_is_still_accepted_and_the_new_one_seals() -> None:
    old, both, new = Sealer(["old"], "job"), Sealer(["new", "old"], "job"), Sealer(["new"], "job")

    assert both.open(old.seal(b"x")) == b"x"
    assert new.open(both.seal(b"x")) == b"x"
    with pytest.raises(SealError, match="another secret"):
        old.open(both.seal(b"x"))


def test_an_outcome_cannot_pass_for_a_job() -> None:
    with pytest.raises(SealError):
        Sealer(["secret"], "job").open(Sealer(["secret"], "outcome").seal(b"x"))


def test_a_sealer_without_a_secret_is_refused() -> None:
    with pytest.raises(ConfigError):
        Sealer([], "job")
