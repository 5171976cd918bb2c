"""Who hears of the items and the progress that arrive on a results channel."""

from __future__ import annotations

from collections.abc import Callable

from ..broker import Notice

__all__ = ["Hearer", "Hearers"]

#: Called with each notice about a job; with None: some may have been missed.
Hearer = Callable[[Notice | None], None]


class Hearers:
    """The hearers of one channel, by the id of the job."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Hearer]] = {}

    def add(self, id: str, hearer: Hearer) -> None:
        self._by_id.setdefault(id, []).append(hearer)

    def remove(self, id: str, hearer: Hearer) -> bool:
        """Remove a hearer; whether it was the last one of the job."""
        hearers = self._by_id.get(id, [])
        if hearer in hearers:
            hearers.remove(hearer)
        if not hearers:
            self._by_id.pop(id, None)
        return not hearers

    def move(self, id: str, other: str) -> None:
        """The job with an id is the one with another id: its hearers hear of that one, and are told to look at it."""
        hearers = self._by_id.pop(id, [])
        if hearers:
            self._by_id.setdefault(other, []).extend(hearers)
        for hearer in hearers:
            hearer(None)

    def tell(self, notice: Notice) -> bool:
        """Pass on an item, or progress. False: the notice is neither."""
        if notice.item is None and notice.progress is None:
            return False
        for hearer in self._by_id.get(notice.id, ()):
            hearer(notice)
        return True

    def tell_all_to_look(self) -> None:
        """The channel was subscribed to again: what was published before is missing."""
        for hearers in self._by_id.values():
            for hearer in hearers:
                hearer(None)
