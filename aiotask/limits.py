"""What an app is told in code or by the environment: numbers, modules, and limits of its queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .backpressure import WhenFull
from .errors import ConfigError
from .options import check_name
from .settings import environment

__all__ = ["check_modules", "number", "queue_limits"]


def check_modules(include: object) -> tuple[str, ...]:
    """Names of modules, given as one or several.

    Raises:
        ConfigError: they are something else.
    """
    given = [include] if isinstance(include, str) else list(include) if isinstance(include, Iterable) else [include]
    modules = tuple(name for name in given if isinstance(name, str))
    if len(modules) != len(given):
        raise ConfigError(f'include={include!r}: give a list of module names, as in ("shop.mail", "shop.render").')
    return modules


def number(given: float | None, name: str, default: float) -> float:
    """What was given, else the variable ``AIOTASK_{name}``, else the default.

    Raises:
        ConfigError: the variable holds no number.
    """
    if given is not None:
        return given
    text = environment(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f'AIOTASK_{name}="{text}" is not a number of seconds. Write one, as in 3600.') from None


def queue_limits(
    max_pending: int | Mapping[str, int] | None, when_full: str | None
) -> tuple[dict[str, int], WhenFull] | None:
    """How many jobs may wait in which queue (``""``: in any that is not named), and what a sender does then.

    Raises:
        ConfigError: a limit is no whole number from 1, a queue has an impossible name, or there is no such policy.
    """
    policy = when_full or environment("WHEN_FULL") or WhenFull.REJECT
    if policy not in list(WhenFull):
        raise ConfigError(f"when_full={policy!r} (AIOTASK_WHEN_FULL): give one of {', '.join(WhenFull)}.")
    text = environment("MAX_PENDING")
    given = _parsed(text) if max_pending is None and text is not None else max_pending
    if given is None:
        return None
    limits = dict(given) if isinstance(given, Mapping) else {"": given}
    for queue, limit in limits.items():
        if queue != "":
            check_name(queue, "a queue (max_pending)")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigError(
                f"max_pending={given!r} (AIOTASK_MAX_PENDING): give a whole number of at least 1, or one for each "
                "queue, "
                'as in {"mail": 10_000}.'
            )
    return limits, WhenFull(policy)


def _parsed(text: str) -> dict[str, int]:
    try:
        pairs = [part.strip().rpartition("=") for part in text.split(",") if part.strip()]
        return {queue.strip(): int(limit) for queue, _, limit in pairs}
    except ValueError:
        raise ConfigError(
            f'AIOTASK_MAX_PENDING="{text}": write one number for every queue, or one for each, as in mail=10000,=500.'
        ) from None
