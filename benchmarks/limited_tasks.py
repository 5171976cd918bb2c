"""Tasks with limits whose numbers hold nothing back: what is measured is the way of a limited job."""

from __future__ import annotations

from aiotask import Limit

from .tasks import Tasks

__all__ = ["LimitedTasks", "app"]


async def one_key(n: int) -> int:
    return n


async def fair(n: int) -> int:
    return n


async def each_limited(n: int) -> int:
    return n


def _hundredth(n: int) -> int:
    """One of 100 keys."""
    return n % 100


class LimitedTasks(Tasks):
    """The tasks of every measurement, and these."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__(url)
        self.one_key = self.app.register_task(one_key, max_running=1_000)
        self.fair = self.app.register_task(fair, limit=Limit(by=_hundredth))
        self.each_limited = self.app.register_task(each_limited, limit=Limit(by=_hundredth, max_running_each=100))


app = LimitedTasks().app
