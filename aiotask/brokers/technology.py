"""The registry of technologies: which kind of broker a URL means, and what that kind can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from urllib.parse import SplitResult

    from ..broker import Broker, Finish, Overflow, Push, Room
    from ..inspector import Inspector

__all__ = [
    "HISTORY",
    "PROCESSES",
    "PushBlocking",
    "Technology",
    "by_scheme",
    "examples",
    "having",
    "register",
    "schemes",
]

#: Features. The broker keeps finished jobs for a recorder: it has the verbs of ``history.History``.
HISTORY = "history"
#: Other processes see its jobs, so that worker processes can run them.
PROCESSES = "processes"


class PushBlocking(Protocol):
    """``Broker.push`` over a plain blocking socket: at interpreter exit no loop and no thread can start."""

    def __call__(
        self,
        url: str,
        app: str,
        client: str,
        sequence: int,
        batch: Sequence[Push],
        room: Room | None = None,
        drop: Sequence[Finish] = (),
    ) -> Overflow | None: ...


class Technology(NamedTuple):
    """One kind of broker: all that aiotask asks of it before there is a broker object."""

    #: The broker at a URL, for one app and the running event loop; nothing is sent yet.
    connect: Callable[[str, str], Broker]
    #: The read side of a broker that ``connect`` has made.
    inspect: Callable[[Broker], Inspector]
    #: Names of the apps that have something at a URL.
    namespaces: Callable[[str], Awaitable[list[str]]]
    #: How to push to a URL without a loop; all that this needs is imported and read by this call.
    push_blocking: Callable[[str], PushBlocking]
    #: What is wrong with a URL of one of its schemes, as the end of a sentence; empty: nothing.
    check_url: Callable[[SplitResult], str]
    #: Whether no other machine can reach what is at a URL, so that its messages need no secret.
    is_private: Callable[[str], bool]
    #: What it can do beyond the verbs of ``Broker``.
    features: frozenset[str]
    #: URLs as error messages show them.
    examples: tuple[str, ...]


_by_scheme: dict[str, Technology] = {}


def register(technology: Technology, *schemes: str) -> None:
    """Make URLs of these schemes mean this technology, in this process.

    Raises:
        ConfigError: a scheme means another one already.
    """
    for scheme in schemes:
        if _by_scheme.setdefault(scheme, technology) is not technology:
            raise ConfigError(f"{scheme}:// means another broker already. Register yours under another scheme.")


def by_scheme(scheme: str) -> Technology | None:
    """What URLs of this scheme mean; None: nothing that is registered."""
    return _by_scheme.get(scheme)


def schemes() -> list[str]:
    """Every registered scheme, as URLs begin with it."""
    return [f"{scheme}://" for scheme in _by_scheme]


def having(feature: str) -> list[str]:
    """The schemes whose brokers have a feature, as URLs begin with them."""
    return [f"{scheme}://" for scheme, technology in _by_scheme.items() if feature in technology.features]


def examples() -> str:
    """What to write as a URL, as the last sentence of an error."""
    *most, last = (example for technology in dict.fromkeys(_by_scheme.values()) for example in technology.examples)
    return f"Use {', '.join(most)} or {last}."
