"""Who a request comes from: everybody on this machine, the users of a file, or those whom a proxy names."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets as random_source
import time
from collections.abc import Awaitable, Callable, Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple

from starlette.types import Scope

from ...errors import ConfigError, SealError
from ...ops.visitors import ACTS, ROLES, Visitor
from ...parts.pausing import this_user
from ...wire.seal import Sealer
from .users import Throttle, User, UsersFile

__all__ = [
    "COOKIE",
    "SESSION",
    "TRIED",
    "Access",
    "Local",
    "Proxied",
    "Tried",
    "Users",
    "client_of",
    "header",
    "name_of",
]

#: Returns the visitor from whom a request comes; None refuses the request.
Access = Callable[[Scope], Visitor | Awaitable[Visitor | None] | None]

#: Key of the scope: the name whose password in a header was wrong, or was not checked since too many were.
TRIED = "aiotask.tried"
COOKIE = "aiotask_session"
#: Seconds until a user has to log in again.
SESSION = 12 * 3600
#: Seconds for which the password in a header is not checked again.
_REMEMBERED = 60.0
_MOST_REMEMBERED = 1_000


def header(scope: Scope, name: str) -> str:
    """The value of a header; empty: there is none, or there are several."""
    found = [value for key, value in scope["headers"] if key == name.lower().encode()]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def client_of(scope: Scope) -> str:
    """The address that the request came from."""
    client = scope.get("client")
    return str(client[0]) if client else "?"


class Local:
    """Everybody who reaches the dashboard may look and act: for one machine, or where something else protects it."""

    def __init__(self, may: Collection[str] = ACTS) -> None:
        self._may = may
        self._name = this_user()

    def __call__(self, scope: Scope) -> Visitor | None:
        return Visitor(self._name, self._may, client_of(scope))


class Proxied:
    """A proxy has checked who it is, and says so in a header.

    Args:
        header: its name; the value is that of the user.
        networks: from which the proxy calls, such as ``10.0.0.0/8``. From elsewhere the header is not believed.
        may: what these users may do.

    Raises:
        ConfigError: a network is none, or there is none.
    """

    def __init__(self, header: str, networks: Collection[str], may: Collection[str] = ACTS) -> None:
        self._header = header
        self._may = may
        try:
            self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]
        except ValueError as error:
            raise ConfigError(f"--from takes a network, such as 10.0.0.0/8: {error}.") from error
        if not header or not self._networks:
            raise ConfigError(
                "--trust-user-header needs --from NETWORK: without it anybody could send the header and be any user."
            )

    def __call__(self, scope: Scope) -> Visitor | None:
        try:
            address = ipaddress.ip_address(client_of(scope))
        except ValueError:
            return None
        name = header(scope, self._header).strip()[:64]
        is_proxy = any(address in network for network in self._networks if network.version == address.version)
        return Visitor(name, self._may, str(address)) if is_proxy and name else None


class Tried(NamedTuple):
    """A login that failed; ``is_over``: too many have, and the password is not checked for a minute."""

    name: str
    is_over: bool

    @property
    def answer(self) -> tuple[int, str]:
        """The status and the text of the response, whatever the way of the login."""
        if self.is_over:
            return 429, "Too many wrong passwords. Try again in a minute."
        return 401, "This name and password are not right."


class Users:
    """The users of a file, who log in with a form, or call with their name and password in a header.

    Args:
        path: of the file.
        secrets: of the app: they seal the cookie, with the user's line, so that a new password ends old sessions.

    Raises:
        ConfigError: as ``UsersFile``.
    """

    def __init__(self, path: str, secrets: Collection[str] = ()) -> None:
        self._file = UsersFile(path)
        # Without a secret a session ends with the process.
        self._secret = "\n".join(secrets) or random_source.token_hex(32)
        self._throttle = Throttle()
        self._remembered: dict[str, tuple[float, str]] = {}

    def __call__(self, scope: Scope) -> Visitor | None:
        return self._by_header(scope) if header(scope, "authorization") else self._by_cookie(scope)

    # ---- the form

    def log_in(self, name: str, password: str) -> User | None:
        """The user with this name and password, who was let in; None: there is none, or too many tries were wrong."""
        if self._throttle.is_over(name):
            return None
        user = self._file.check(name, password)
        if user is None:
            self._throttle.failed(name)
        return user

    def is_over(self, name: str) -> bool:
        """Whether too many passwords were wrong in the last minute."""
        return self._throttle.is_over(name)

    def cookie(self, user: User) -> str:
        payload = f"{int(time.time()) + SESSION} {user.name}".encode()
        return base64.urlsafe_b64encode(self._sealer(user).seal(payload)).decode() + "." + _packed(user.name)

    def _by_cookie(self, scope: Scope) -> Visitor | None:
        sealed, _, packed = _cookie(scope, COOKIE).partition(".")
        try:
            user = self._file.users().get(base64.urlsafe_b64decode(packed).decode()) if sealed else None
            if user is None:
                return None
            until, _, name = self._sealer(user).open(base64.urlsafe_b64decode(sealed)).decode().partition(" ")
        except (ValueError, SealError):
            return None
        if name != user.name or int(until) < time.time():
            return None
        return _visitor(user, scope)

    def _sealer(self, user: User) -> Sealer:
        return Sealer([f"{self._secret}\n{':'.join(user)}"], "web session")

    # ---- a header

    def _by_header(self, scope: Scope) -> Visitor | None:
        kind, _, packed = header(scope, "authorization").partition(" ")
        try:
            name, has_colon, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except ValueError:
            return None
        if kind.lower() not in ("basic", "bearer") or not has_colon:
            return None
        known = self._file.users().get(name)
        mark = hashlib.sha256(f"{packed}\n{known}".encode()).hexdigest()
        until, _ = self._remembered.get(mark, (0.0, ""))
        if known is not None and until > time.monotonic():
            return _visitor(known, scope)
        user = self.log_in(name, password)
        if user is None:
            scope[TRIED] = Tried(name[:64], self.is_over(name))
            return None
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[mark] = (time.monotonic() + _REMEMBERED, name)
        return _visitor(user, scope)


def _visitor(user: User, scope: Scope) -> Visitor:
    return Visitor(user.name, ROLES[user.role], client_of(scope))


def _packed(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _cookie(scope: Scope, name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                jar.load(value.decode("latin-1"))
            except CookieError:
                return ""
    return jar[name].value if name in jar else ""


def name_of(access: Any) -> str:
    """How people are told who may look, in words."""
    if isinstance(access, Users):
        return "users of a file"
    return "whom a proxy names" if isinstance(access, Proxied) else "everybody who reaches it"
