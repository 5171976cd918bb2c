"""The registry of technologies: which kind of broker a URL means, and what that kind can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from importlib.metadata import EntryPoint, EntryPoints
    from urllib.parse import SplitResult

    from ..broker import Broker, Finish, Overflow, Push, Room
    from ..inspector import Inspector
    from .graphs import Part, Taken

__all__ = [
    "AUDIT",
    "DUE_NOW",
    "ENTRY_POINTS",
    "EXPIRY",
    "GRAPHS",
    "HIDES",
    "HISTORY",
    "LIMITS",
    "METRICS",
    "MOVE",
    "PAUSES",
    "PROCESSES",
    "SCHEDULES",
    "STREAMS",
    "UNIQUE",
    "PushBlocking",
    "PushGraphBlocking",
    "Technology",
    "by_scheme",
    "examples",
    "having",
    "is_declared",
    "register",
    "register_unlisted",
    "schemes",
]

#: Feature: the broker keeps finished jobs for a recorder, with the verbs of ``history.History``.
HISTORY = "history"
#: Feature: jobs may take the values of other jobs, with the verbs of ``graphs.Graphs``.
GRAPHS = "graphs"
#: Feature: jobs expire by the clock of the broker, with the verbs of ``expiry.Expiry``.
EXPIRY = "expiry"
#: Feature: jobs may be unique by a key, as the ``Special.unique`` of a push says.
UNIQUE = "unique"
#: Feature: queues and tasks can be paused, with the verbs of ``pauses.Pauses``.
PAUSES = "pauses"
#: Feature: scheduled jobs can be run at once, with the verb of ``due_now.DueNow``.
DUE_NOW = "due now"
#: Feature: jobs can be moved to another queue, with the verb of ``moving.Moving``.
MOVE = "move"
#: Feature: calls that are due again and again, with the verbs of ``schedules.Schedules``.
SCHEDULES = "schedules"
#: Feature: tasks may have limits, with the verbs of ``limits.Limits``.
LIMITS = "limits"
#: Feature: what workers count of their jobs is kept by the minute, with the verb of ``metrics.Metrics``.
METRICS = "metrics"
#: Feature: other processes see the broker's jobs, so that worker processes can run them.
PROCESSES = "processes"
#: Feature: what people have done is kept, with the verbs of ``audit.Audit``.
AUDIT = "audit"
#: Feature: what an app hides from people is kept, with the verbs of ``hides.Hides``.
HIDES = "hides"
#: Feature: jobs may emit items and report progress while they run, with the verbs of ``streams.Streams``.
STREAMS = "streams"

#: Group of the entry points by which installed packages declare technologies, each under the name of its scheme.
ENTRY_POINTS = "aiotask.brokers"


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


class PushGraphBlocking(Protocol):
    """``Graphs.push_graph`` over a plain blocking socket, as ``PushBlocking``."""

    def __call__(
        self, url: str, app: str, client: str, sequence: int, part: Part, room: Room | None = None
    ) -> Taken: ...


class Technology(NamedTuple):
    """One kind of broker: the functions that aiotask needs before there is a broker object."""

    #: The broker at a URL, for one app and the running event loop; nothing is sent yet.
    connect: Callable[[str, str], Broker]
    #: The read side of a broker that ``connect`` has made.
    inspect: Callable[[Broker], Inspector]
    #: Names of the apps that have keys, jobs or workers at a URL.
    namespaces: Callable[[str], Awaitable[list[str]]]
    #: Returns a function that pushes to a URL without a loop, with all modules and files loaded that it needs.
    push_blocking: Callable[[str], PushBlocking]
    #: What is wrong with a URL, as the end of a sentence; empty: the URL is valid.
    check_url: Callable[[SplitResult], str]
    #: Whether no other machine can reach the broker at a URL, so that its messages need no secret.
    is_private: Callable[[str], bool]
    #: The features of the broker, beyond the verbs of ``Broker``.
    features: frozenset[str]
    #: URLs as error messages show them.
    examples: tuple[str, ...]
    #: As ``push_blocking``, for parts of graphs; None: the broker keeps no graphs.
    push_graph_blocking: Callable[[str], PushGraphBlocking] | None = None


_by_scheme: dict[str, Technology] = {}
#: Technologies without a URL that users write: no list of schemes names them.
_unlisted: dict[str, Technology] = {}


def register_unlisted(technology: Technology, scheme: str) -> None:
    """Make addresses of this scheme, which aiotask itself makes, mean this technology."""
    _unlisted[scheme] = technology


def register(technology: Technology, *schemes: str) -> None:
    """Make URLs of these schemes mean this technology, in this process.

    The keeper and most commands import no code of the app: they know a technology only from an entry point.

    Raises:
        ConfigError: a scheme already means another technology.
    """
    for scheme in schemes:
        if _by_scheme.setdefault(scheme, technology) is not technology:
            raise ConfigError(f"{scheme}:// means another broker already. Register yours under another scheme.")


def by_scheme(scheme: str) -> Technology | None:
    """The technology of a scheme; None: the scheme is neither registered nor declared.

    Raises:
        ConfigError: a package declares a technology that cannot be loaded.
    """
    if scheme in _unlisted:
        return _unlisted[scheme]
    if scheme and scheme not in _by_scheme:
        for entry in _entry_points(scheme):
            register(_loaded(entry), scheme)
    return _by_scheme.get(scheme)


def is_declared(scheme: str) -> bool:
    """Whether an installed package declares the technology of a scheme, so that every process knows it."""
    return bool(_entry_points(scheme))


def _entry_points(scheme: str) -> EntryPoints:
    # Imported here: it takes several ms, and URLs of aiotask's own brokers do without it.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS, name=scheme)


def _loaded(entry: EntryPoint) -> Technology:
    try:
        found = entry.load()
    except Exception as error:
        raise ConfigError(
            f'The broker of {entry.name}:// cannot be loaded from "{entry.value}": {type(error).__name__}: {error}.'
        ) from error
    if not isinstance(found, Technology):
        raise ConfigError(f'The broker of {entry.name}:// is declared as "{entry.value}", which is no Technology.')
    return found


def schemes() -> list[str]:
    """Every registered scheme, as URLs begin with it."""
    return [f"{scheme}://" for scheme in _by_scheme]


def having(feature: str) -> list[str]:
    """The schemes whose brokers have a feature, as URLs begin with them."""
    return [f"{scheme}://" for scheme, technology in _by_scheme.items() if feature in technology.features]


def examples() -> str:
    """Examples of URLs, as the last sentence of an error."""
    *most, last = (example for technology in dict.fromkeys(_by_scheme.values()) for example in technology.examples)
    return f"Use {', '.join(most)} or {last}."
