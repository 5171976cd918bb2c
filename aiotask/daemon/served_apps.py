"""What a supervisor serves: facts of the apps, as the code that is in service tells them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from .child import Forked

__all__ = ["Served", "app_key"]

#: User and password, hidden or not, of a URL.
_USER = re.compile(r"//[^/@]*@")


def app_key(app: dict[str, Any]) -> tuple[str, str]:
    """What makes an app the same one in another version of the code: its name and its broker, whatever the password."""
    return app["name"], _USER.sub("//", app["url"])


class Served:
    """The apps of the newest code in service, and those that only older processes still serve.

    Code that is loaded again, at a HUP or after a death, may name another password, another queue or another app.
    """

    def __init__(self) -> None:
        #: Empty until the first process has loaded its app.
        self.apps: list[dict[str, Any]] = []

    def tick(self, children: Collection[Forked]) -> bool:
        """Learn what the processes say; whether it differs from what they said before."""
        told = sorted((child for child in children if child.apps), key=lambda child: -child.number)
        # Before any process is in service, what has been loaded last is what will be.
        newest = next((child for child in told if child.is_up), told[0] if told else None)
        if newest is None:
            return False
        merged = {app_key(app): dict(app) for app in newest.apps}
        for child in told:
            if child.number < newest.number or child.is_up:
                for app in child.apps:
                    _merge(merged, app)
        before, self.apps = self.apps, list(merged.values())
        return self.apps != before

    def changes(self, before: Sequence[dict[str, Any]]) -> str:
        """What is served now and was not, or was and is not any more, for people; empty if that is the same."""
        said = []
        old, new = ({app_key(app): app for app in apps} for apps in (before, self.apps))
        said += [f'app "{name}" at {url} was added' for name, url in new.keys() - old.keys()]
        said += [f'app "{name}" at {url} was removed' for name, url in old.keys() - new.keys()]
        for key in new.keys() & old.keys():
            for what in ("queues", "tasks"):
                more, less = set(new[key][what]) - set(old[key][what]), set(old[key][what]) - set(new[key][what])
                noun = what.removesuffix("s")
                said += [f'{noun} "{each}" was added' for each in sorted(more)]
                said += [f'{noun} "{each}" was removed' for each in sorted(less)]
        return ", ".join(said[:_MOST]) + (f", and {len(said) - _MOST} more" if len(said) > _MOST else "")


#: Changes that are said.
_MOST = 8


def _merge(merged: dict[tuple[str, str], dict[str, Any]], app: dict[str, Any]) -> None:
    """Add an app of an older process: the whole, or what the newest code does not consume any more."""
    known = merged.setdefault(app_key(app), dict(app))
    for what in ("tasks", "queues", "needs"):
        known[what] = list(dict.fromkeys((*known[what], *app[what])))
