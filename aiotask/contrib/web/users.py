"""The users file: a line for each user, ``NAME:SCRYPT:ROLE``, and how often a wrong password may be tried."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError
from ...ops.visitors import ROLES

__all__ = ["Throttle", "User", "UsersFile", "line_of"]

#: Cost of one check: about 16 MB and 50 ms.
_N, _R, _P = 16384, 8, 1
#: Characters of a name and of a password at most.
_NAME, _PASSWORD = 64, 1024
#: Wrong passwords in a minute, of one name and of all names together, after which none is checked.
_TRIES, _TRIES_OF_ALL = 5, 100
_MINUTE = 60.0


class User(NamedTuple):
    """One line of the file."""

    name: str
    #: ``N.R.P.SALT.HASH``, the last two in base64.
    scrypt: str
    role: str

    def has(self, password: str) -> bool:
        """Whether this is the password; it takes the same time whatever it is."""
        n, r, p, salt, wanted = self.scrypt.split(".")
        made = _hash(password, base64.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(made, base64.b64decode(wanted))


def _hash(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    given = password.encode(errors="surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def line_of(name: str, password: str, role: str) -> str:
    """The line of a user for the file.

    Raises:
        ConfigError: the name or the role cannot be that of a user, or the password is too short or too long.
    """
    if not name or len(name) > _NAME or not name.isprintable() or ":" in name or name != name.strip():
        raise ConfigError(f'"{name}" cannot be the name of a user: 1 to {_NAME} characters, and no colon among them.')
    if role not in ROLES:
        raise ConfigError(f'"{role}" is no role. Roles: {", ".join(ROLES)}.')
    if not 8 <= len(password) <= _PASSWORD:
        raise ConfigError(f"This password has {len(password)} characters. Choose one of 8 to {_PASSWORD}.")
    salt = secrets.token_bytes(16)
    hashed = _hash(password, salt, _N, _R, _P)
    parts = [str(_N), str(_R), str(_P), *(base64.b64encode(each).decode() for each in (salt, hashed))]
    return f"{name}:{'.'.join(parts)}:{role}"


class UsersFile:
    """The users in a file; a changed file is read again.

    Raises:
        ConfigError: the file cannot be read, or a line of it is none of a user.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._users: Mapping[str, User] = {}
        # An unknown name takes as long as a wrong password.
        self._nobody = User("", line_of("nobody", secrets.token_hex(16), "read").split(":")[1], "read")
        self.users()

    def users(self) -> Mapping[str, User]:
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._users = _parsed(self.path, self.path.read_text(encoding="utf-8"))
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f'The users file "{self.path}" cannot be read: {error}. Make it: aiotask web-user NAME >> {self.path}'
            ) from error
        return self._users

    def check(self, name: str, password: str) -> User | None:
        """The user with this name and password; None: there is none. It takes about 50 ms."""
        user = self.users().get(name)
        is_right = (user or self._nobody).has(password[:_PASSWORD])
        return user if is_right else None


def _parsed(path: Path, text: str) -> dict[str, User]:
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user = _user(line.strip())
        if user is None:
            raise ConfigError(
                f'Line {number} of the users file "{path}" is none of a user. A line is NAME:SCRYPT:ROLE; make one '
                "with: aiotask web-user NAME"
            )
        users[user.name] = user
    if not users:
        raise ConfigError(f'The users file "{path}" has no user. Add one: aiotask web-user NAME >> {path}')
    return users


def _user(line: str) -> User | None:
    parts = line.split(":")
    if len(parts) != 3 or not parts[0] or parts[2] not in ROLES:
        return None
    numbers = parts[1].split(".")
    try:
        n, r, p = map(int, numbers[:3])
        salt, hashed = (base64.b64decode(each, validate=True) for each in numbers[3:])
    except (ValueError, binascii.Error):
        return None
    # Bounds: a check must not take minutes or gigabytes.
    if n & (n - 1) or not 2 <= n <= 2**20 or not 1 <= r <= 32 or not 1 <= p <= 16 or len(hashed) != 32 or not salt:
        return None
    return User(*parts)


class Throttle:
    """Counts wrong passwords by name, in the last minute."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = {}
        self._of_all: deque[float] = deque(maxlen=_TRIES_OF_ALL)

    def is_over(self, name: str) -> bool:
        """Whether no further password of this name is checked now."""
        now = time.monotonic()
        recent = self._failures.get(name, ())
        of_name = sum(1 for at in recent if at > now - _MINUTE)
        of_all = sum(1 for at in self._of_all if at > now - _MINUTE)
        return of_name >= _TRIES or of_all >= _TRIES_OF_ALL

    def failed(self, name: str) -> None:
        now = time.monotonic()
        self._failures = {each: at for each, at in self._failures.items() if at and at[-1] > now - _MINUTE}
        self._failures.setdefault(name, deque(maxlen=_TRIES)).append(now)
        self._of_all.append(now)
