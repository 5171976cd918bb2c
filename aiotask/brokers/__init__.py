"""Brokers: one folder per technology and one row here, chosen by the scheme of a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from ..errors import ConfigError
from .memory.technology import MEMORY
from .redis.technology import REDIS
from .shown import hide_password
from .sql.technology import ROWS, SCHEME
from .technology import (
    AUDIT,
    DUE_NOW,
    ENTRY_POINTS,
    GRAPHS,
    HIDES,
    HISTORY,
    LIMITS,
    MOVE,
    SCHEDULES,
    STREAMS,
    PushBlocking,
    PushGraphBlocking,
    Technology,
    by_scheme,
    examples,
    having,
    is_declared,
    register,
    register_unlisted,
    schemes,
)

if TYPE_CHECKING:
    from ..broker import Broker
    from ..inspector import GraphInspector, Inspector
    from .audit import Audit
    from .due_now import DueNow
    from .graphs import Graphs
    from .hides import Hides
    from .history import History
    from .moving import Moving
    from .schedules import Schedules
    from .streams import Streams

__all__ = [
    "audit_of",
    "check_url",
    "connect",
    "due_now_of",
    "features",
    "graphs_of",
    "hides_of",
    "history_of",
    "inspect",
    "inspect_graphs",
    "is_private",
    "moving_of",
    "namespaces",
    "push_blocking",
    "push_graph_blocking",
    "require",
    "require_declared",
    "require_limits",
    "schedules_of",
    "streams_of",
]

register(REDIS, "redis", "rediss", "unix", "valkey", "valkeys")
register(MEMORY, "memory")
register_unlisted(ROWS, SCHEME)
#: The schemes of aiotask's own brokers, which every process knows.
_OWN = frozenset(scheme.removesuffix("://") for scheme in schemes())


def check_url(url: object) -> str:
    """The URL without blanks around it, if it is one of a broker; nothing is contacted.

    Raises:
        ConfigError: the URL is not one of a broker.
    """
    if not isinstance(url, str):
        raise ConfigError(f"url={url!r} is not text. {examples()}")
    url = url.strip() or url
    if fault := _fault(url):
        raise ConfigError(f'"{hide_password(url)}" is not a broker URL: {fault}. {examples()}')
    return url


def _fault(url: str) -> str:
    """What is wrong with a URL. Later most faults would go unnoticed: a database that is not a number counts as 0."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its host cannot be parsed"
    technology = by_scheme(parts.scheme)
    if "://" not in url or technology is None:
        return f"it does not begin with one of {', '.join(schemes())}"
    if parts.fragment or "@" in parts.path:
        return "in a user, password or path, write %23 for #, %2F for / and %40 for @"
    try:
        _ = parts.port
    except ValueError:
        return "its port is not a number up to 65535 (in a password, write %2F for / and %3A for :)"
    return technology.check_url(parts)


def _technology(url: str) -> Technology:
    found = by_scheme(urlsplit(check_url(url)).scheme)
    assert found is not None
    return found


def connect(url: str, app: str) -> Broker:
    """The broker at a URL, for one app and the running event loop; nothing is sent yet."""
    return _technology(url).connect(url, app)


def inspect(broker: Broker) -> Inspector:
    """The read side of a broker."""
    found = by_scheme(urlsplit(broker.url).scheme)
    assert found is not None
    return found.inspect(broker)


def inspect_graphs(broker: Broker) -> GraphInspector:
    """The read side of a broker, with the verbs of graphs.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, GRAPHS, "A list of graphs")
    return cast("GraphInspector", inspect(broker))


async def namespaces(url: str) -> list[str]:
    """Names of the apps that have keys, jobs or workers at this URL."""
    return await _technology(url).namespaces(url)


def push_blocking(url: str) -> PushBlocking:
    """A function that pushes to this URL without a loop. Get it early: at exit no module or file can be loaded."""
    return _technology(url).push_blocking(url)


def push_graph_blocking(url: str) -> PushGraphBlocking | None:
    """The same for parts of graphs; None: the broker keeps no graphs."""
    load = _technology(url).push_graph_blocking
    return None if load is None else load(url)


def is_private(url: str) -> bool:
    """Whether only this machine can reach the broker at a URL: a socket file, memory, or a loopback address."""
    return _technology(url).is_private(url)


def features(url: str) -> frozenset[str]:
    """The features of the broker at a URL, beyond the verbs that every broker has."""
    found = by_scheme(urlsplit(url).scheme)
    return _technology(url).features if found is None else found.features


def history_of(broker: Broker) -> History:
    """The broker, with the verbs of the history.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, HISTORY, "result_db")
    return cast("History", broker)


def graphs_of(broker: Broker) -> Graphs:
    """The broker, with the verbs of graphs.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, GRAPHS, "A call with the future value of another one (.cast)")
    return cast("Graphs", broker)


def audit_of(broker: Broker) -> Audit:
    """The broker, with the verbs of the audit.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, AUDIT, "A list of what people have done")
    return cast("Audit", broker)


def hides_of(broker: Broker) -> Hides:
    """The broker, with the verbs that keep what an app hides from people.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, HIDES, "A list of hidden arguments")
    return cast("Hides", broker)


def due_now_of(broker: Broker) -> DueNow:
    """The broker, with the verb that runs scheduled jobs at once.

    Raises:
        ConfigError: the broker lacks this verb.
    """
    require(broker.url, DUE_NOW, "Running scheduled jobs at once")
    return cast("DueNow", broker)


def moving_of(broker: Broker) -> Moving:
    """The broker, with the verb that moves jobs to another queue.

    Raises:
        ConfigError: the broker lacks this verb.
    """
    require(broker.url, MOVE, "Moving jobs to another queue")
    return cast("Moving", broker)


def schedules_of(broker: Broker) -> Schedules:
    """The broker, with the verbs of schedules.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, SCHEDULES, "A schedule (cron=, every=, app.schedules)")
    return cast("Schedules", broker)


def streams_of(broker: Broker, option: str = "A task that is a generator") -> Streams:
    """The broker, with the verbs of streams and progress.

    Raises:
        ConfigError: the broker lacks these verbs.
    """
    require(broker.url, STREAMS, option)
    return cast("Streams", broker)


def require(url: str, feature: str, option: str) -> None:
    """Check that the broker at a URL has a feature.

    Args:
        option: the option, set by the user, that needs the feature.

    Raises:
        ConfigError: the broker lacks the feature.
    """
    if feature not in features(url):
        raise ConfigError(
            f'{option} needs a broker with the feature "{feature}", which the one at "{hide_password(url)}" lacks. '
            f"Leave out {option}, or use a broker that has it: {', '.join(having(feature))}."
        )


def require_limits(task: str, url: str) -> None:
    """Check that the broker at a URL can enforce the limit of a task; empty: the embedded server, which can.

    Raises:
        ConfigError: the broker lacks the feature.
    """
    if url:
        require(url, LIMITS, f'The limit of task "{task}"')


def require_declared(url: str) -> None:
    """Check that processes which import no code of the app know the broker at a URL, as the keeper does.

    Raises:
        ConfigError: the broker is registered in this process alone.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _OWN and not is_declared(scheme):
        raise ConfigError(
            f"{scheme}:// is registered by the app, but the keeper of `aiotask worker` imports no code of the app. "
            f'Declare the broker as an entry point of its package: in the group "{ENTRY_POINTS}", under the name '
            f'"{scheme}".'
        )
