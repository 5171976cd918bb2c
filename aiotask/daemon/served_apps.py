"""What a supervisor serves: facts of the apps, as the code that is in service has sent them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from ..brokers.sql.facts import RowFacts
from .app_facts import AppFacts, app_key
from .child import Child

__all__ = ["ServedApps"]


class ServedApps:
    """The apps of the newest code in service, and those that only older processes still serve.

    Code that is loaded again, at a HUP or after a death, may name another password, another queue or another app.
    """

    def __init__(self) -> None:
        #: Empty until the first process has loaded its app.
        self.apps: list[AppFacts] = []

    def tick(self, children: Collection[Child]) -> bool:
        """Read what the processes have loaded; whether what is served has changed by that."""
        loaded = sorted((child for child in children if child.apps), key=lambda child: -child.number)
        # Before any process is in service, what has been loaded last is what will be.
        newest = next((child for child in loaded if child.is_up), loaded[0] if loaded else None)
        if newest is None:
            return False
        merged = {app_key(app): app for app in newest.apps}
        for child in loaded:
            if child.number < newest.number or child.is_up:
                for app in child.apps:
                    merged[app_key(app)] = _merged(merged.get(app_key(app), app), app)
        before, self.apps = self.apps, list(merged.values())
        return self.apps != before

    def changes(self, before: Sequence[AppFacts]) -> str:
        """What is served now and was not, or was and is not any more, for people; empty if that is the same."""
        changes = []
        old, new = ({app_key(app): app for app in apps} for apps in (before, self.apps))
        changes += [f"{_title(new[key])} was added" for key in new.keys() - old.keys()]
        changes += [f"{_title(old[key])} was removed" for key in old.keys() - new.keys()]
        for key in new.keys() & old.keys():
            changes += _differences("queue", old[key].queues, new[key].queues)
            changes += _differences("task" if new[key].rows is None else "row class", old[key].tasks, new[key].tasks)
        return ", ".join(changes[:_SHOWN]) + (f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else "")


#: Changes that the log shows.
_SHOWN = 8


def _title(app: AppFacts) -> str:
    what = f'app "{app.name}"' if app.rows is None else f'the unit of rows of app "{app.name}"'
    return f"{what} at {app_key(app)[1]}"


def _differences(noun: str, before: Collection[str], after: Collection[str]) -> list[str]:
    added, removed = sorted({*after} - {*before}), sorted({*before} - {*after})
    return [f'{noun} "{each}" was added' for each in added] + [f'{noun} "{each}" was removed' for each in removed]


def _merged(app: AppFacts, older: AppFacts) -> AppFacts:
    """The app as the newest code has it, and with it what this code does not consume any more and older code does."""
    return replace(
        app,
        tasks=_union(app.tasks, older.tasks),
        queues=_union(app.queues, older.queues),
        needs=_union(app.needs, older.needs),
        rows=_merged_rows(app.rows, older.rows),
    )


def _merged_rows(rows: RowFacts | None, older: RowFacts | None) -> RowFacts | None:
    """The rows as the newest code has them, and tables of older code: its claims there are given back, too."""
    if rows is None or older is None:
        return rows
    known = {(table.schema, table.name) for table in rows.tables}
    gone = [table for table in older.tables if (table.schema, table.name) not in known]
    return replace(rows, tables=[*rows.tables, *gone])


def _union(some: Collection[str], more: Collection[str]) -> list[str]:
    return list(dict.fromkeys((*some, *more)))
